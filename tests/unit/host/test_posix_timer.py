"""The timer is the kernel's own for a thread, or else the process's one."""

from __future__ import annotations

import ctypes
import signal
import time
from typing import Any

import pytest

from arbd.host import posix_timer


class NoTimers:
    """A C library whose timers cannot be had."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.timer_settime = self.timer_create = _Fails()


class _Fails:
    argtypes: Any = None

    def __call__(self, *_: Any) -> int:
        return -1


def test_where_none_can_be_had_it_is_the_one_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", NoTimers)
    assert posix_timer.make().signum == signal.SIGALRM


def test_one_that_cannot_be_set_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = posix_timer.ThreadTimer()
    monkeypatch.setattr(timer, "_settime", _Fails())
    with pytest.raises(OSError, match=r"."):
        timer.set(time.monotonic() + 60)


@pytest.mark.parametrize(("moment", "at_least"), [(0.0, 1e-6), (2.5, 1e-6)])
def test_the_process_s_one_is_never_switched_off(
    monkeypatch: pytest.MonkeyPatch, moment: float, at_least: float
) -> None:
    """Zero would do that."""
    asked: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda which, seconds: asked.append(seconds))
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)
    posix_timer.IntervalTimer().set(moment)
    assert asked == [max(at_least, moment - 1.0)]
