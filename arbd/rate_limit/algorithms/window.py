"""The exact sliding window: a log of the starts that are not older than the window."""

from __future__ import annotations

from collections import deque
from typing import Final

from arbd.rate_limit.algorithms.base import BATCH_NS, Limit

_WINDOW_GROUPS: Final = 4096  # a window of more starts than this keeps them in groups, each dated at its last start


class SlidingWindow(Limit):
    """At most ``calls`` starts in any interval of length ``window_ns``; with one call, a minimum spacing."""

    def __init__(self, calls: int, window_ns: int) -> None:
        self._max = calls
        self._window_ns = window_ns
        self._group_ns = window_ns // _WINDOW_GROUPS if calls > _WINDOW_GROUPS else 0
        self._groups: deque[list[int]] = deque()  # [date of the first, date of the last, how many]
        self._total = 0
        self.graded = calls > 1
        self.max_batch = max(1, min(BATCH_NS * calls // window_ns, calls // 4))
        self.capacity = calls

    def spend(self, at_ns: int, calls: int) -> None:
        groups = self._groups
        self._total += calls
        if groups:
            last = groups[-1]
            at_ns = max(at_ns, last[1])
            if at_ns - last[0] <= self._group_ns:
                last[1] = at_ns
                last[2] += calls
                return
        groups.append([at_ns, at_ns, calls])

    def count(self, now_ns: int) -> int:
        """How many starts lie in the window that ends at ``now_ns``."""
        since_ns = now_ns - self._window_ns
        left = self._total
        for _, last, calls in self._groups:
            if last > since_ns:
                break
            left -= calls
        return left

    def available(self, now_ns: int, outstanding: int) -> int:
        return max(0, self._max - outstanding - self.count(now_ns))

    def next_at(self, now_ns: int, outstanding: int) -> int:
        too_many = self._total + outstanding + 1 - self._max
        if too_many <= 0:
            return now_ns
        for _, last, calls in self._groups:
            too_many -= calls
            if too_many <= 0:
                return max(now_ns, last + self._window_ns)
        return now_ns + self._window_ns

    def forget(self, now_ns: int) -> None:
        groups, since_ns = self._groups, now_ns - self._window_ns
        while groups and groups[0][1] <= since_ns:
            self._total -= groups.popleft()[2]

    def usage(self, now_ns: int, outstanding: int = 0) -> float:
        return min(1.0, (self.count(now_ns) + outstanding) / self._max)
