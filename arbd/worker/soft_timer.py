"""The soft deadline: a timer that raises ``TaskTimeout`` inside the running action.

A courtesy, not the verdict: an action may swallow it, and C code delays it. The supervisor's kill comes after it.

The timer is lazy. Arming it for each task would be two system calls of 500 ns; but a timer that is set for an
earlier moment than this task's deadline may stay: when it fires too early it is set again for what is left. So
a stream of short tasks sets it once per timeout, not once per task.

    arm(deadline) .. disarm()     the only time in which it raises
    fires before the deadline     set again for the rest
    fires outside arm..disarm     nothing is set: the next ``arm`` does it

It must be used from the main thread, where Python runs signal handlers.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

from arbd.errors import TaskCancelled, TaskTimeout
from arbd.host.procs import CANCEL_SIGNAL

_NEVER = float("inf")


class SoftTimer:
    """One worker's timer. Deadlines are moments of ``time.monotonic()``."""

    def __init__(self, is_cancelled: Callable[[int], bool] = lambda _: False) -> None:
        self._deadline = _NEVER
        self._fires_at = _NEVER
        self._seq = 0
        self._is_cancelled = is_cancelled
        self._cancel_instead: Callable[[], object] | None = None
        signal.signal(signal.SIGALRM, self._on_alarm)
        signal.signal(CANCEL_SIGNAL, self._on_cancel)

    def arm(self, deadline: float, seq: int = 0) -> None:
        """Raise ``TaskTimeout`` in this thread at ``deadline``, unless disarmed before.

        And ``TaskCancelled`` when a signal comes and the task with this number is cancelled. A signal that came before
        this call is not seen: look once after it.
        """
        self._seq = seq
        self._deadline = deadline
        if self._fires_at > deadline:
            self._set(deadline)

    def disarm(self) -> None:
        """Do not raise any more."""
        self._deadline = _NEVER
        self._seq = 0
        self._cancel_instead = None

    def hand_over(self, cancel: Callable[[], object]) -> None:
        """Do not raise any more; call ``cancel`` when the task is cancelled, until disarmed."""
        self._deadline = _NEVER
        self._cancel_instead = cancel
        self._on_cancel(0, None)  # it may be cancelled already

    @property
    def is_cancelled(self) -> bool:
        """Whether the task it was armed for is cancelled."""
        return self._seq != 0 and self._is_cancelled(self._seq)

    def _set(self, deadline: float) -> None:
        self._fires_at = deadline
        # Zero would switch the timer off.
        signal.setitimer(signal.ITIMER_REAL, max(1e-6, deadline - time.monotonic()))

    def _on_alarm(self, _signum: int, _frame: FrameType | None) -> None:
        deadline = self._deadline
        self._fires_at = _NEVER
        if deadline is _NEVER:
            return
        if time.monotonic() < deadline:
            self._set(deadline)
            return
        self.disarm()
        raise TaskTimeout

    def _on_cancel(self, _signum: int, _frame: FrameType | None) -> None:
        if not self.is_cancelled:
            return
        if self._cancel_instead is not None:
            self._cancel_instead()
            return
        self.disarm()
        raise TaskCancelled
