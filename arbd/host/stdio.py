"""The output buffer of the C library's ``stdout``. In a pipe it holds some kilobytes back, which would come out with
what another task prints."""

from __future__ import annotations

import ctypes
from typing import Final

_libc: Final = ctypes.PyDLL(None)
_IOLBF: Final = 1


def _find() -> ctypes.c_void_p | None:
    try:
        return ctypes.c_void_p.in_dll(_libc, "stdout")
    except ValueError:  # a C library that has it under another name
        return None


_stdout: Final = _find()


def buffer_lines() -> None:
    """Have every line written when it ends."""
    if _stdout is not None:
        _libc.setvbuf(_stdout, None, _IOLBF, ctypes.c_size_t(0))


def flush() -> None:
    """Write what is held back, the beginning of a line."""
    if _stdout is not None:
        _libc.fflush(_stdout)
