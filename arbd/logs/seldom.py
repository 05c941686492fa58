"""Lines of a kind that are written seldom: one per key and some seconds, and so many in all; the others are counted.

Pure; time is seconds of a monotonic clock, and an argument.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

_MOST_KEYS: Final = 1024


class Seldom:
    """When such a line is due. ``every_s``: between two of one key; ``most``: of all keys within a second."""

    def __init__(self, every_s: float, most: int) -> None:
        self._every_s = every_s
        self._most = most
        self._last: dict[Hashable, float] = {}  # by key, the oldest first
        self._left_out: dict[Hashable, int] = {}
        self._begun_at = 0.0
        self._written = 0  # since then

    def is_due(self, key: Hashable, now: float) -> bool:
        """Whether one of this key may be written."""
        last = self._last.get(key)
        if last is not None and now - last < self._every_s:
            return False
        return self._written < self._most or now - self._begun_at >= 1.0

    def write(self, key: Hashable, now: float) -> int:
        """One of this key is written; how many were left out since the last."""
        if now - self._begun_at >= 1.0:
            self._begun_at, self._written = now, 0
        self._written += 1
        self._last.pop(key, None)
        self._last[key] = now
        while len(self._last) > _MOST_KEYS:
            oldest = next(iter(self._last))
            del self._last[oldest]
            self._left_out.pop(oldest, None)
        return self._left_out.pop(key, 0)

    def leave_out(self, key: Hashable) -> None:
        """One of this key is not written."""
        if key in self._left_out or len(self._left_out) < _MOST_KEYS:
            self._left_out[key] = self._left_out.get(key, 0) + 1
