"""A budget for the cost of calls: seconds of run time, or of CPU time."""

from __future__ import annotations

from typing import Final

from arbd.rate_limit.algorithms.base import Limit
from arbd.rate_limit.usage import ESTIMATED

_LEARN: Final = 8  # an expected cost falls by 1/8 of the difference per call
_SOONEST_NS: Final = 20_000_000  # a call that has just begun says nothing yet of how long it takes


class CostBudget(Limit):
    """At most ``budget_ns`` of run time or CPU time per ``period_ns``, with at most ``budget_ns`` saved up.

    What a call costs is known when it has ended, so the budget may go into debt; the debt is paid back before the next
    call starts, and the mean never exceeds the budget. Calls under way count with what they have used or with what they
    are expected to cost, whichever is more: ten long calls started at once do not slip past. The expectation goes up at
    once and down slowly; while there is none, calls start one at a time.
    """

    def __init__(self, budget_ns: int, period_ns: int, *, cpu: bool) -> None:
        self._budget_ns = budget_ns
        self._period_ns = period_ns
        self._cpu = cpu
        self._level = budget_ns * period_ns  # in nanoseconds of cost, times the period
        self._at_ns = 0
        self._expected_ns = 0  # 0: no call has ended yet
        self._cpu_share = 1.0  # of run time, while a call is under way
        self._running = 0
        self._elapsed_ns = 0
        self.max_batch = 1

    def _level_at(self, now_ns: int) -> int:
        grown = self._level + max(0, now_ns - self._at_ns) * self._budget_ns
        return min(self._budget_ns * self._period_ns, grown)

    def spend(self, at_ns: int, calls: int) -> None:
        self._running += calls

    def charge(self, at_ns: int, calls: int, wall_ns: int, cpu_ns: int) -> None:
        cost_ns = cpu_ns if self._cpu else wall_ns
        self._level = self._level_at(at_ns) - cost_ns * self._period_ns
        self._at_ns = max(self._at_ns, at_ns)
        mean_ns = max(1, cost_ns // calls)
        if mean_ns >= self._expected_ns:
            self._expected_ns = mean_ns
        else:
            self._expected_ns -= (self._expected_ns - mean_ns) // _LEARN
        if self._cpu and wall_ns:
            self._cpu_share = min(1.0, cpu_ns / wall_ns)
        self._running = max(0, self._running - calls)

    def progress(self, running: int, elapsed_ns: int) -> None:
        self._running = running
        self._elapsed_ns = elapsed_ns

    def _need(self, outstanding: int) -> tuple[int, int]:
        """The cost that running and outstanding calls account for, and the cost of one more; both in nanoseconds."""
        one = min(self._expected_ns, self._budget_ns)
        used = round(self._elapsed_ns * self._share())
        return max(used, self._running * one) + outstanding * one, max(1, one)

    def available(self, now_ns: int, outstanding: int) -> int:
        under_way = self._running + outstanding
        spoken_for, one = self._need(outstanding)
        left = self._level_at(now_ns) // self._period_ns - spoken_for
        if not self._expected_ns:
            return 1 if left > 0 and not under_way else 0
        return max(0, left // one)

    def next_at(self, now_ns: int, outstanding: int) -> int:
        spoken_for, one = self._need(outstanding)
        over_ns = self._overrun_ns()
        # Where calls take longer than expected, or nothing is expected yet: as long again as they have by now is the
        # fair guess of an age alone (J. R. Gott, Nature 363 (1993) 315-319: the median), and it is told as one.
        spoken_for += round(over_ns * self._share()) * self._running
        missing = (spoken_for + one) * self._period_ns - self._level_at(now_ns)
        at_ns = max(now_ns, self._at_ns) + max(0, -(-missing // self._budget_ns))
        if self._expected_ns or not (self._running + outstanding):
            return at_ns
        return max(at_ns, now_ns + max(_SOONEST_NS, over_ns))  # the first call ever has to end before there is another

    def usage(self, now_ns: int, outstanding: int = 0) -> float:
        spoken_for, _ = self._need(outstanding)
        return 1 - (self._level_at(now_ns) / self._period_ns - spoken_for) / self._budget_ns

    def cpu_usage(self, now_ns: int, outstanding: int) -> float | None:
        return self.usage(now_ns, outstanding) if self._cpu else None

    def cause(self, now_ns: int, outstanding: int) -> int:
        return ESTIMATED if self._running + outstanding else 0

    def _share(self) -> float:
        return self._cpu_share if self._cpu else 1.0

    def _overrun_ns(self) -> int:
        """How long each call that runs has run, if that costs more than was expected; 0 otherwise."""
        if not self._running:
            return 0
        mean_ns = self._elapsed_ns // self._running
        return mean_ns if mean_ns * self._share() > self._expected_ns else 0
