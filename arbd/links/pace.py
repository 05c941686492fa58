"""Pacing of calls: how many of one method may be under way, and when the next may start.

Pure: the time (seconds of a monotonic clock) is an argument. Not a queue and not a timer: the
link asks ``start_at`` before each call and tells what came of it.

    answer                  window (calls under way at most)   next call
    ----------------------  ---------------------------------  ---------------------------------------------
    productive              + 1, up to ``limit``               at once
    empty, held by the hub  half, at least 1                   at once: the hub itself did the waiting
    empty, at once          1                                  ``idle`` back-off after the *start* of this one
    failed                  1                                  ``error`` back-off after this answer

Every answered task lets two calls follow one, so the window doubles each round trip while tasks come, and one
gentle call is left when none do. An answer to a call that began before the present pause says nothing new:
it neither lengthens the pause nor counts as another step of the back-off (32 calls that fail together are one event).
"""

from __future__ import annotations

import math
from typing import Final

from arbd.core.backoff import Backoff

REFUSED_INTERVAL_S: Final = 31.0
"""Seconds between two calls while the token is refused. With 30 three calls could fall on one minute's two ends."""


class Pace:
    """The pacing of one method: a window and pauses.

    Every call is bracketed by ``started`` and ``ended``, whatever happens to it; between them at most one of
    ``productive``, ``empty`` and ``failed`` says what came of it.
    """

    def __init__(self, *, limit: int, window: int, idle: Backoff, error: Backoff) -> None:
        """``limit``: calls under way at most, ever. ``window``: at most at the beginning."""
        self.under_way = 0
        self.window = min(window, limit)
        self._limit = limit
        self._idle = idle
        self._error = error
        self._pause_until = -math.inf
        self._paused_at = -math.inf

    def start_at(self, now: float) -> float:
        """When the next call may start: ``now``, a later moment, or infinity (not before some call has ended)."""
        if self.under_way >= self.window:
            return math.inf
        return max(now, self._pause_until)

    def started(self) -> None:
        """A call starts."""
        self.under_way += 1

    def ended(self) -> None:
        """A call is over."""
        self.under_way -= 1

    def productive(self) -> None:
        """A call brought a task, or delivered a result."""
        if self.window < self._limit:
            self.window += 1
        self._pause_until = -math.inf
        self._idle.reset()
        self._error.reset()

    def empty(self, started_at: float, now: float) -> None:
        """A call that began at ``started_at`` was answered "nothing"."""
        self._error.reset()
        if now - started_at >= self._idle.max_s:
            self.window = max(1, self.window // 2)
            self._idle.reset()
        elif self._says_something_new(started_at, now):
            self._pause_until = started_at + self._idle.next_s()

    def failed(self, started_at: float, now: float) -> None:
        """A call that began at ``started_at`` failed."""
        if self._says_something_new(started_at, now):
            self._pause_until = now + self._error.next_s()

    def _says_something_new(self, started_at: float, now: float) -> bool:
        self.window = 1
        if started_at < self._paused_at:
            return False
        self._paused_at = now
        return True


class TokenGate:
    """The limit on calls while the hub refuses the token: one each ``interval_s`` seconds, both methods together.

    Opens with the first call that is not refused. Calls under way when the first refusal comes are not counted:
    they were sent before it was known.
    """

    def __init__(self, interval_s: float = REFUSED_INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._next_at = -math.inf
        self._closed_at = -math.inf
        self.closed = False

    def start_at(self, now: float) -> float:
        """When the next call of either method may start."""
        return max(now, self._next_at) if self.closed else now

    def started(self, now: float) -> None:
        """A call starts: the next one has to wait its turn if the gate is closed."""
        if self.closed:
            self._next_at = now + self._interval_s

    def refused(self, now: float) -> None:
        """The hub refused the token."""
        if not self.closed:
            self.closed = True
            self._closed_at = now
            self._next_at = now + self._interval_s

    def renewed(self) -> None:
        """There is another token: what the hub said of the one before counts no more."""
        self.closed = False
        self._closed_at = -math.inf

    def passed(self, started_at: float) -> None:
        """The hub accepted the token of a call that began at ``started_at``.

        A long poll that began before the refusal proves nothing: its token was checked then, not now.
        """
        if started_at >= self._closed_at:
            self.closed = False
