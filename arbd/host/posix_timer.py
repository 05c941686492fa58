"""A timer that signals one thread at a moment of the monotonic clock: ``timer_create(2)`` with SIGEV_THREAD_ID.

Not ``setitimer``, of which a process has one, with SIGALRM: that is the author's. A forked child has no such timer; so
one is made in the process and the thread that it is for.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from typing import Final, Protocol

TIMER_SIGNAL: Final = signal.SIGRTMIN + 2
"""The signal of this timer; ``procs.CANCEL_SIGNAL`` is the one before it."""

_SIGEV_THREAD_ID: Final = 4
_TIMER_ABSTIME: Final = 1
_NS: Final = 1_000_000_000


class SignalTimer(Protocol):
    """A timer that sends ``signum`` to the thread that made it."""

    signum: int

    def set(self, moment: float) -> None:
        """Send it at this moment of ``time.monotonic()``, at once if that has passed, and not before."""


class _SigEvent(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread_id", ctypes.c_int),
        ("padding", ctypes.c_char * 44),
    ]


class _TimerSpec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("interval_s", "interval_ns", "value_s", "value_ns")]


class ThreadTimer:
    """A timer of the kernel's for the calling thread. Raises ``OSError`` or ``AttributeError`` where there is none."""

    signum: int = TIMER_SIGNAL

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timer_settime
        self._settime.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        event = _SigEvent(None, self.signum, _SIGEV_THREAD_ID, threading.get_native_id())
        timer = ctypes.c_void_p()
        if libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)) != 0:
            raise _error()
        self._timer = timer
        self._spec = _TimerSpec()
        self._spec_at = ctypes.addressof(self._spec)

    def set(self, moment: float) -> None:
        """As ``SignalTimer`` says."""
        ns = max(1, round(moment * _NS))  # zero would switch it off
        self._spec.value_s, self._spec.value_ns = divmod(ns, _NS)
        if self._settime(self._timer, _TIMER_ABSTIME, self._spec_at, None) != 0:
            raise _error()


class IntervalTimer:
    """The process's one ``setitimer``, with SIGALRM, where there is no other."""

    signum: int = signal.SIGALRM

    def set(self, moment: float) -> None:
        """As ``SignalTimer`` says."""
        signal.setitimer(signal.ITIMER_REAL, max(1e-6, moment - time.monotonic()))


def make() -> SignalTimer:
    """A timer for the calling thread, which must be the main one."""
    try:
        return ThreadTimer()
    except (OSError, AttributeError):  # a sandbox that forbids it, or a C library that has it elsewhere
        return IntervalTimer()


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
