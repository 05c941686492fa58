"""The soft deadline: a timer that raises ``TaskTimeout`` inside the running action.

It is best effort, not the verdict: an action may swallow the exception, and C code delays it. The supervisor's kill
comes after it.

The timer is lazy. Setting it for each task would be a system call of 500 ns; but a timer that is set for an earlier
moment than this task's deadline may stay: when it fires too early it is set again for what is left. So a stream of
short tasks sets it once per timeout, not once per task.

    arm(deadline) .. disarm()       the only time in which it raises
    fires before the deadline       set again for the rest
    fires outside arm..disarm       nothing is set: the next ``arm`` does it
    fires in uninterruptible code   set again for a moment later (``arbd.interrupts``); the same holds for a cancel
    fires while a module is         likewise, less often: half a module, or an extension that can be loaded once only,
    imported                        would be left to later tasks. Where the import never ends, the kill does

The timer and its signal are the worker's own (``arbd.host.posix_timer``): SIGALRM belongs to the author.
It must be used from the main thread, where Python runs signal handlers.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final, Literal

from arbd.errors import TaskCancelled, TaskTimeout
from arbd.host import own_stacks, posix_timer
from arbd.host.procs import CANCEL_SIGNAL
from arbd.interrupts import is_importing, may_interrupt

Strike = Literal["interrupted", "cancelled"]
"""What struck in an action: its deadline, or a cancel."""

_NEVER = float("inf")
#: Uninterruptible code takes some microseconds; the waits in it are interruptible.
_RETRY_S: Final = 0.0002
_RETRY_IMPORT_S: Final = 0.005


class SoftTimer:
    """The timer of one worker. Deadlines are moments of ``time.monotonic()``. ``on_strike`` is told when it interrupts
    an action."""

    struck_at: Sequence[str] = ()
    """The stack in which the deadline struck last; whoever tells of it takes it away."""

    def __init__(
        self,
        is_cancelled: Callable[[int], bool] = lambda _: False,
        *,
        alarm: posix_timer.SignalTimer | None = None,
        on_strike: Callable[[Strike], object] = lambda _: None,
    ) -> None:
        self._deadline = _NEVER
        self._fires_at = _NEVER
        self._seq = 0
        self._is_cancelled = is_cancelled
        self._cancel_instead: Callable[[], object] | None = None
        self._cancel_waits = False  # for interruptible code
        self._alarm = posix_timer.make() if alarm is None else alarm
        self.strike = on_strike
        signal.signal(self._alarm.signum, self._on_alarm)
        signal.signal(CANCEL_SIGNAL, self._on_cancel)

    @property
    def signum(self) -> int:
        """The signal of its timer."""
        return self._alarm.signum

    def arm(self, deadline: float, seq: int = 0) -> None:
        """Raise ``TaskTimeout`` in this thread at ``deadline``, unless disarmed before.

        It also raises ``TaskCancelled`` when a signal comes and task ``seq`` is cancelled. A signal that came before
        this call is not seen: look once after it.
        """
        self._seq = seq
        self._deadline = deadline
        if self._fires_at > deadline:
            self._set(deadline)

    def disarm(self) -> None:
        """Raise nothing from now on."""
        self._deadline = _NEVER
        self._seq = 0
        self._cancel_instead = None
        self._cancel_waits = False

    def hand_over(self, cancel: Callable[[], object]) -> None:
        """Raise nothing from now on; call ``cancel`` if the task is cancelled before ``disarm``."""
        self._deadline = _NEVER
        self._cancel_instead = cancel
        self._on_cancel(0, None)  # it may be cancelled already

    def take_back(self, deadline: float) -> None:
        """Raise again at ``deadline``, after ``hand_over``: the same task goes on in code that is not asynchronous."""
        self._cancel_instead = None
        self.arm(deadline, self._seq)

    @property
    def is_armed(self) -> bool:
        """Whether it may raise now."""
        return self._deadline is not _NEVER

    @property
    def is_cancelled(self) -> bool:
        """Whether the task that it was armed for is cancelled."""
        return self._seq != 0 and self._is_cancelled(self._seq)

    def renew(self) -> None:
        """Set the timer at the next ``arm``, whatever is set: somebody may have switched it off."""
        self._fires_at = _NEVER

    def _set(self, deadline: float) -> None:
        self._fires_at = deadline
        self._alarm.set(deadline)

    def _may_raise(self, frame: FrameType | None) -> bool:
        """Whether an exception may be raised in this frame; if not, the timer comes again."""
        if not may_interrupt(frame):
            self._set(time.monotonic() + _RETRY_S)
        elif is_importing(frame):
            self._set(time.monotonic() + _RETRY_IMPORT_S)
        else:
            return True
        return False

    def _on_alarm(self, signum: int, frame: FrameType | None) -> None:
        self._fires_at = _NEVER
        if self._cancel_waits:
            self._on_cancel(signum, frame)
            if self._cancel_waits:  # still; the deadline is looked at when it comes again
                return
        deadline = self._deadline
        if deadline is _NEVER:
            return
        if time.monotonic() < deadline:
            self._set(deadline)
        elif self._may_raise(frame):
            self.disarm()
            self.strike("interrupted")
            self.struck_at = own_stacks.lines_of(frame)
            raise TaskTimeout

    def _on_cancel(self, _signum: int, frame: FrameType | None) -> None:
        self._cancel_waits = False
        if not self.is_cancelled:
            return
        if self._cancel_instead is not None:
            self._cancel_instead()
            return
        self._cancel_waits = True  # before the timer is set, which on a busy machine may fire at once
        if self._may_raise(frame):
            self.disarm()
            self.strike("cancelled")
            raise TaskCancelled
