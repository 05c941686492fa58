"""Whether this process has children, or has had some, whoever in it started them: a library in C as well."""

from __future__ import annotations

import ctypes
import os
import resource
from typing import Final

_libc: Final = ctypes.PyDLL(None)
_waitid: Final = _libc.waitid
_waitid.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_getrusage: Final = _libc.getrusage
_getrusage.argtypes = (ctypes.c_int, ctypes.c_void_p)
_LOOK: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT
_usage: Final = (ctypes.c_long * 18)()
_information: Final = ctypes.create_string_buffer(128)
_MINOR_FAULTS: Final = 8  # behind two times of two words each, and four sizes


def has_child() -> bool:
    """Whether this process has a child now, one that ended and was not waited for included."""
    return bool(_waitid(os.P_ALL, 0, _information, _LOOK) == 0)


def reaped() -> int:
    """A number that grows with every child that has ended and was waited for: the page faults of them all."""
    _getrusage(resource.RUSAGE_CHILDREN, _usage)
    return int(_usage[_MINOR_FAULTS])
