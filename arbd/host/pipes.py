"""Pipes that one process writes to and another reads, and how many bytes wait in one."""

from __future__ import annotations

import ctypes
import fcntl
import os
import termios
from typing import Final

# All pipes of a user may have 64 MiB together before the kernel gives him smaller ones: 64 workers have two each.
_BYTES: Final = 256 * 1024

# Not fcntl.ioctl, which takes three times as long for the buffer it makes and copies back.
_ioctl: Final = ctypes.PyDLL(None).ioctl
_ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)
_ioctl.restype = ctypes.c_int
_found: Final = ctypes.c_int()
_where: Final = ctypes.addressof(_found)


def make() -> tuple[int, int]:
    """Make a pipe: the end to read, which never waits, and the end to write; both are closed on exec. Raises
    ``OSError``."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reading, False)
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _BYTES)
    except OSError:
        pass  # the user has too much in pipes already; as it is made it holds 64 KiB, or 8
    return reading, writing


def waiting(fd: int) -> int:
    """How many bytes wait in the pipe of which this is an end; -1 if it is closed, or can have none waiting."""
    return _found.value if _ioctl(fd, termios.FIONREAD, _where) == 0 else -1
