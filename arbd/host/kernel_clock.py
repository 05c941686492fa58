"""What the kernel knows of the wall clock: whether somebody keeps it right (``adjtimex(2)``), and what it counts by."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Final, NamedTuple

_TIME_ERROR: Final = 5
_STA_UNSYNC: Final = 0x0040
_SOURCE: Final = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


class _Timex(ctypes.Structure):
    """The front of ``struct timex``, and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 32),
    )


class ClockState(NamedTuple):
    """Whether somebody keeps the clock right, and by how many seconds that thinks it may be off."""

    is_synchronised: bool
    may_be_off_s: float


def state() -> ClockState | None:
    """The state of the clock; nothing is set. ``None`` where the kernel does not say: a sandbox may forbid it."""
    timex = _Timex()  # modes 0: only to read
    try:
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):  # there is no such function
        return None
    if answer < 0:
        return None
    is_synchronised = answer != _TIME_ERROR and not timex.status & _STA_UNSYNC
    return ClockState(is_synchronised, timex.esterror / 1e6)


def source(file: Path = _SOURCE) -> str:
    """What the kernel counts time by, such as ``tsc``; empty where it does not say."""
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""
