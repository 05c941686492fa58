"""Exponential back-off: each retry waits twice as long as the one before."""

from __future__ import annotations

from typing import Final

FIRST_NS: Final = 50_000_000
LONGEST_NS: Final = 5_000_000_000


class BackOff:
    """The retry times of one operation. Pure: time is an argument, in nanoseconds of one monotonic clock."""

    def __init__(self, first_ns: int = FIRST_NS, longest_ns: int = LONGEST_NS) -> None:
        self._first_ns = self._pause_ns = first_ns
        self._longest_ns = longest_ns
        self.until_ns = 0  # it need not be tried before

    def failed(self, now_ns: int) -> int:
        """Record a failure; returns when to try again."""
        self.until_ns = now_ns + self._pause_ns
        self._pause_ns = min(self._longest_ns, 2 * self._pause_ns)
        return self.until_ns

    def worked(self) -> None:
        """Record a success: the next failure waits the first pause again."""
        self._pause_ns = self._first_ns
        self.until_ns = 0
