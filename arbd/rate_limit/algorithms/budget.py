"""A budget for the cost of calls: seconds of run time, or of CPU time."""

from __future__ import annotations

from typing import Final

from arbd.rate_limit.algorithms.base import Limit

_LEARN: Final = 8  # an expected cost falls by 1/8 of the difference per call


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
        used = round(self._elapsed_ns * self._cpu_share) if self._cpu else self._elapsed_ns
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
        missing = (spoken_for + one) * self._period_ns - self._level_at(now_ns)
        at_ns = max(now_ns, self._at_ns) + max(0, -(-missing // self._budget_ns))
        # When the first call ever will end is not known; asking again after one period is a fair guess.
        return at_ns if self._expected_ns or not (self._running + outstanding) else now_ns + self._period_ns

    def usage(self, now_ns: int) -> float:
        spoken_for, _ = self._need(0)
        return 1 - (self._level_at(now_ns) / self._period_ns - spoken_for) / self._budget_ns
