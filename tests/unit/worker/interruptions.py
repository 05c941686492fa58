"""A soft timer that interrupts a test's code at every instruction, one after the other."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import Any, TypeVar, cast

import pytest

from arbd.errors import TaskTimeout
from arbd.host.procs import CANCEL_SIGNAL
from arbd.interrupts import uninterruptible
from arbd.worker.soft_timer import SoftTimer

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_is_elsewhere = False

LATE = 0.0  # a deadline that has passed


class Interruptions:
    """A soft timer whose signals come when the test says. The alarm it sets is none: nothing depends on the clock."""

    def __init__(self) -> None:
        self.cancelled: set[int] = set()
        self.timer = SoftTimer(self.cancelled.__contains__)

    def everywhere(
        self, make: Callable[[], T], act: Callable[[T], object], check: Callable[[T], None], *, cancel: int = 0
    ) -> int:
        """``act`` on a new thing, interrupted at its first instruction, then on another, at its second, and so on;
        ``check`` each. How many instructions there were. ``cancel``: by cancelling the task of this number."""
        number = 0
        while True:
            thing = make()
            self.cancelled.clear()
            at = _Interruption(number, (lambda: self.cancelled.add(cancel)) if cancel else None)
            try:
                with at.traced():
                    act(thing)
            except TaskTimeout:
                pass
            finally:
                self.timer.disarm()
            check(thing)
            if not at.has_come:
                return number
            number += 1

    def under_deadline(self, function: Callable[[], object]) -> object:
        """Call it as the worker's loop calls an action: the deadline may be raised from here on, and not after."""
        try:
            self.timer.arm(LATE)
            return function()
        finally:
            self.timer.disarm()


def elsewhere(function: F) -> F:
    """Mark what is in another process, in truth: nothing interrupts it."""

    @wraps(function)
    def untraced(*args: Any, **kwargs: Any) -> Any:
        global _is_elsewhere
        _is_elsewhere = True
        try:
            return function(*args, **kwargs)
        finally:
            _is_elsewhere = False

    return cast(F, uninterruptible(untraced))


class _Interruption:
    """One interruption. From its instruction on the signal comes at each, as the timer comes again, until it raises."""

    def __init__(self, number: int, cancel: Callable[[], object] | None) -> None:
        self._left = number
        self._cancel = cancel
        self._handlers: Any = {signum: signal.getsignal(signum) for signum in (signal.SIGALRM, CANCEL_SIGNAL)}
        self.has_come = False

    @contextmanager
    def traced(self) -> Iterator[None]:
        before = sys.gettrace()
        gc.disable()  # what it calls may be a test tool's own
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)
            gc.enable()

    def _enter(self, frame: FrameType, event: str, _: object) -> Any:
        if _is_elsewhere or frame.f_code.co_filename in (__file__, _CONTEXTLIB):
            return None
        # In this order: from Python 3.13 on, instructions are only traced where the tracer is there already.
        frame.f_trace, frame.f_trace_opcodes, frame.f_trace_lines = self._see, True, False
        return self._see(frame, event, None)

    def _see(self, frame: FrameType, event: str, _: object) -> Any:
        if self._left > 0:
            self._left -= 1
            return self._see
        is_first, self.has_come = not self.has_come, True
        if is_first and self._cancel is not None:
            self._cancel()
            self._handlers[CANCEL_SIGNAL](CANCEL_SIGNAL, frame)
        else:
            self._handlers[signal.SIGALRM](signal.SIGALRM, frame)
        return self._see


_CONTEXTLIB = contextmanager.__code__.co_filename


@pytest.fixture
def interruptions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Interruptions]:
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGALRM, CANCEL_SIGNAL)}
    monkeypatch.setattr(signal, "setitimer", lambda which, seconds: (0.0, 0.0))
    yield Interruptions()
    for signum, handler in before.items():
        signal.signal(signum, handler)
