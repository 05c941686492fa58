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
from types import FrameType

from arbd.errors import TaskTimeout

_NEVER = float("inf")


class SoftTimer:
    """One worker's timer. Deadlines are moments of ``time.monotonic()``."""

    def __init__(self) -> None:
        self._deadline = _NEVER
        self._fires_at = _NEVER
        signal.signal(signal.SIGALRM, self._on_alarm)

    def arm(self, deadline: float) -> None:
        """Raise ``TaskTimeout`` in this thread at ``deadline``, unless disarmed before."""
        self._deadline = deadline
        if self._fires_at > deadline:
            self._set(deadline)

    def disarm(self) -> None:
        """Do not raise any more."""
        self._deadline = _NEVER

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
        self._deadline = _NEVER
        raise TaskTimeout
