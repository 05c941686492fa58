"""A soft timer that interrupts a test's code at one instruction after the other."""

from __future__ import annotations

import gc
import itertools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import Any, TypeVar, cast

import pytest
from thoroughness import IS_THOROUGH

from arbd.errors import TaskTimeout
from arbd.host.procs import CANCEL_SIGNAL
from arbd.interrupts import uninterruptible
from arbd.worker.soft_timer import SoftTimer

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_is_elsewhere = False

LATE = 0.0  # a deadline that has passed


class Silence:
    """An alarm that never comes by itself."""

    signum: int = signal.SIGALRM

    def set(self, moment: float) -> None:
        """Nothing: nothing depends on the clock."""


class StillTimer(SoftTimer):
    """A timer that sets no handler and never fires; ``struck``: what is said to have interrupted an action."""

    def __init__(self) -> None:
        self.struck: list[str] = []
        self.strike = self.struck.append
        self._seq = 0
        self._deadline = self._fires_at = float("inf")
        self._alarm = Silence()
        self._cancel_instead = None
        self._is_cancelled = lambda _: False


class Interruptions:
    """A soft timer whose signals come when the test says."""

    def __init__(self) -> None:
        self.cancelled: set[int] = set()
        self.renew()

    def renew(self) -> None:
        """A timer that remembers nothing: every run takes the same way until it is interrupted."""
        self.cancelled.clear()
        self.timer = SoftTimer(self.cancelled.__contains__, alarm=Silence())

    def everywhere(
        self, make: Callable[[], T], act: Callable[[T], object], check: Callable[[T], None], *, cancel: int = 0
    ) -> int:
        """``act`` on a new thing, interrupted at its first instruction, then on another, at a later one, and so on;
        ``check`` each. How often that was. ``cancel``: by cancelling the task of this number.

        A thorough run does so at every instruction; else it is every third of each function that is called."""
        count = 0
        for frame in itertools.count():
            for instruction in itertools.count(step=1 if IS_THOROUGH else 3):
                self.renew()
                thing = make()
                at = _Interruption(frame, instruction, (lambda: self.cancelled.add(cancel)) if cancel else None)
                try:
                    with at.traced():
                        act(thing)
                except TaskTimeout:
                    pass
                finally:
                    self.timer.disarm()
                check(thing)
                if not at.has_come:
                    break
                count += 1
            if not at.was_entered:
                return count
        raise AssertionError("never reached: the count has no end")

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
    """One interruption, at an instruction of the frame that is entered as this one. From there on the signal comes at
    each instruction, as the timer comes again, until it raises. Only that frame is traced until then, and not all that
    are entered before it: tracing every instruction on the way to each is nearly all the time that it takes."""

    def __init__(self, frame: int, instruction: int, cancel: Callable[[], object] | None) -> None:
        self._frames_left = frame
        self._left = instruction
        self._cancel = cancel
        self._handlers: Any = {signum: signal.getsignal(signum) for signum in (signal.SIGALRM, CANCEL_SIGNAL)}
        self.was_entered = False
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
        if _is_elsewhere or frame.f_code.co_filename in _OURS:
            return None
        if not self.has_come:
            if self._frames_left > 0 or self.was_entered:
                self._frames_left -= 1
                return None
            self.was_entered = True
        self._trace(frame)
        return self._see(frame, event, None)

    def _trace(self, frame: FrameType) -> None:
        # In this order: from Python 3.13 on, instructions are only traced where the tracer is there already.
        frame.f_trace, frame.f_trace_opcodes, frame.f_trace_lines = self._see, True, False

    def _see(self, frame: FrameType, event: str, _: object) -> Any:
        if self._left > 0:
            self._left -= 1
            return self._see
        if not self.has_come:
            self.has_come = True
            for caller in _callers(frame):
                self._trace(caller)
            if self._cancel is not None:
                self._cancel()
                self._handlers[CANCEL_SIGNAL](CANCEL_SIGNAL, frame)
                return self._see
        self._handlers[signal.SIGALRM](signal.SIGALRM, frame)
        return self._see


def _callers(frame: FrameType) -> Iterator[FrameType]:
    """The frames above this one that may be interrupted: those of what acts."""
    caller = frame.f_back
    while caller is not None and caller.f_code is not _EVERYWHERE:
        if caller.f_code.co_filename not in _OURS:
            yield caller
        caller = caller.f_back


_EVERYWHERE = Interruptions.everywhere.__code__
_OURS = (__file__, contextmanager.__code__.co_filename)


@pytest.fixture
def interruptions() -> Iterator[Interruptions]:
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGALRM, CANCEL_SIGNAL)}
    yield Interruptions()
    for signum, handler in before.items():
        signal.signal(signum, handler)
