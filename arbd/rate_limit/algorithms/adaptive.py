"""Adaptive concurrency: how many calls may run at once, learnt from how long they take and how often they fail.

    gradient = least run time of late * TOLERANCE / run time now, between 0.5 and 1
    limit   <- limit * gradient + sqrt(limit)          smoothed; between floor and ceiling
    a failure: limit <- limit * 0.9                    at most once per run time, and no growth within it
    every ten seconds: limit <- limit / 2              so that nothing queues for a moment, and the least is measured

As long as calls take as little as ever, the gradient is 1 and the limit grows by its square root; when they queue
somewhere, the gradient takes it back to where their run time is about TOLERANCE times the least. It begins small and
grows by one per call (slow start) until the first sign of trouble. It grows only while it is used, so an idle hour does
not open it wide; and it never stays at its floor, because there, too, calls that are fast again let it grow.

The least run time is that of the last one to two windows, so a service that becomes slower for good is not taken for
one that is overloaded for ever. Without the dip every ten seconds it would be: where calls always queue a little, the
least of late would take the queue for the rule, and the limit would climb and climb.

After the gradient limit of Netflix's concurrency-limits (https://github.com/Netflix/concurrency-limits).
"""

from __future__ import annotations

from math import sqrt
from typing import Final

from arbd.rate_limit.algorithms.base import SECOND_NS, Limit
from arbd.rate_limit.usage import ESTIMATED

TOLERANCE: Final = 1.25
_LEAST_GRADIENT: Final = 0.5
_SMOOTHING: Final = 0.2
_BACK_OFF: Final = 0.9
_DIP: Final = 0.5
_START: Final = 2.0
_WINDOW_NS: Final = 10 * SECOND_NS
_RETRY_MIN_NS: Final = 1_000_000


class AdaptiveConcurrency(Limit):
    """At most ``limit`` concurrent calls; ``limit`` adapts between ``floor`` and ``ceiling``."""

    max_batch = 1

    def __init__(self, floor: int, ceiling: int) -> None:
        self._floor = float(floor)
        self._ceiling = float(ceiling)
        self.limit = min(self._ceiling, max(self._floor, _START))
        self._slow_start = True
        self._running = 0
        self._least_ns: list[int] = []  # of this window and the one before
        self._window = -1
        self._run_ns = 0  # a call's run time, smoothed
        self._backed_off_at_ns = -SECOND_NS * 3600

    def spend(self, at_ns: int, calls: int) -> None:
        self._running += calls

    def progress(self, running: int, elapsed_ns: int) -> None:
        self._running = running

    def charge(self, at_ns: int, calls: int, wall_ns: int, cpu_ns: int) -> None:
        run_ns = max(1, wall_ns // calls)
        used = self._running * 2 >= self.limit
        self._running = max(0, self._running - calls)
        least_ns = self._least(at_ns, run_ns)
        self._run_ns = run_ns if not self._run_ns else self._run_ns + round((run_ns - self._run_ns) * _SMOOTHING)
        gradient = min(1.0, max(_LEAST_GRADIENT, TOLERANCE * least_ns / self._run_ns))
        if gradient < 1.0:
            self._slow_start = False
        elif not used or at_ns - self._backed_off_at_ns < self._run_ns:
            return
        if self._slow_start:
            self._move_to(self.limit + calls)
        else:
            goal = self.limit * gradient + sqrt(self.limit)
            # As if once per call of a full limit: a run time brings one whole step, however many calls it had.
            self._move_to(self.limit + (goal - self.limit) * min(1.0, calls / self.limit))

    def blame(self, at_ns: int, calls: int) -> None:
        self._slow_start = False
        if at_ns - self._backed_off_at_ns >= self._run_ns:
            self._backed_off_at_ns = at_ns
            self._move_to(self.limit * _BACK_OFF)

    def available(self, now_ns: int, outstanding: int) -> int:
        return max(0, int(self.limit) - self._running - outstanding)

    def next_at(self, now_ns: int, outstanding: int) -> int:
        # When one of those that run will have ended, if they ended evenly over time.
        return now_ns + max(_RETRY_MIN_NS, self._run_ns // max(1, int(self.limit)))

    def usage(self, now_ns: int, outstanding: int = 0) -> float:
        return (self._running + outstanding) / int(self.limit)

    def cause(self, now_ns: int, outstanding: int) -> int:
        return ESTIMATED

    def _least(self, at_ns: int, run_ns: int) -> int:
        window = at_ns // _WINDOW_NS
        if window > self._window:
            # After a pause of more than a window nothing that was measured before it counts any more.
            self._least_ns = self._least_ns[-1:] if window == self._window + 1 else []
            self._least_ns.append(run_ns)
            if self._window >= 0:
                self._move_to(self.limit * _DIP)
            self._window = window
        else:
            self._least_ns[-1] = min(self._least_ns[-1], run_ns)
        return min(self._least_ns)

    def _move_to(self, limit: float) -> None:
        self.limit = min(self._ceiling, max(self._floor, limit))
