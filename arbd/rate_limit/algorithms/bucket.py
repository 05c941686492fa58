"""The token bucket: a mean rate, and a burst above it. Source: the "committed" bucket of RFC 2697."""

from __future__ import annotations

from arbd.rate_limit.algorithms.base import BATCH_NS, Limit


class TokenBucket(Limit):
    """At most ``burst + rate * t`` starts in any interval of length t, at a rate of ``calls`` per ``period_ns``."""

    def __init__(self, calls: int, period_ns: int, burst: int) -> None:
        self._calls = calls
        self._unit = period_ns  # one call; the level grows by `calls` of these units' parts per nanosecond
        self._cap = burst * period_ns
        self._level = self._cap
        self._at_ns = 0
        self.max_batch = max(1, min(BATCH_NS * calls // period_ns, burst // 4))
        self.capacity = burst

    def _level_at(self, now_ns: int) -> int:
        if now_ns <= self._at_ns:
            return self._level
        return min(self._cap, self._level + (now_ns - self._at_ns) * self._calls)

    def spend(self, at_ns: int, calls: int) -> None:
        self._level = self._level_at(at_ns) - calls * self._unit
        self._at_ns = max(self._at_ns, at_ns)

    def available(self, now_ns: int, outstanding: int) -> int:
        return max(0, self._level_at(now_ns) // self._unit - outstanding)

    def next_at(self, now_ns: int, outstanding: int) -> int:
        missing = (outstanding + 1) * self._unit - self._level_at(now_ns)
        return max(now_ns, self._at_ns) + max(0, -(-missing // self._calls))

    def usage(self, now_ns: int, outstanding: int = 0) -> float:
        return min(1.0, 1 - (self._level_at(now_ns) - outstanding * self._unit) / self._cap)
