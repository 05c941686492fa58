"""Pauses before something that failed is tried again. Pure: the time is an argument, and nothing is waited for."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final

import backoff

RETRY_MIN_S: Final = 0.05
RETRY_MAX_S: Final = 5.0


class Backoff:
    """An exponential back-off: ``min_s`` seconds, twice as long each time, up to ``max_s``; each pause by ``jitter``.

    ``jitter`` turns a pause into the one that is taken; by default a random share of it (full jitter: Marc Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). ``float`` leaves it as it is.
    """

    def __init__(self, min_s: float, max_s: float, jitter: Callable[[float], float] = backoff.full_jitter) -> None:
        self.min_s = min_s
        self.max_s = max_s
        self._jitter = jitter
        self._pauses: Generator[float, Any, None] | None = None

    def next_s(self) -> float:
        """The next pause, in seconds."""
        if self._pauses is None:
            self._pauses = backoff.expo(factor=self.min_s, max_value=self.max_s)
            next(self._pauses)  # its first value is for starting the generator
        return self._jitter(next(self._pauses))

    def reset(self) -> None:
        """Begin again at ``min_s``. Called for every task that goes well, so it only forgets."""
        self._pauses = None


class Retry:
    """The time before which something that failed is not tried again, in nanoseconds of one monotonic clock."""

    def __init__(self, min_s: float = RETRY_MIN_S, max_s: float = RETRY_MAX_S) -> None:
        self._backoff = Backoff(min_s, max_s, jitter=float)
        self.until_ns = 0

    def failed(self, now_ns: int) -> int:
        """Note a failure; when to try again."""
        self.until_ns = now_ns + round(self._backoff.next_s() * 1e9)
        return self.until_ns

    def worked(self) -> None:
        """Note a success: the next failure is a first one again."""
        self._backoff.reset()
        self.until_ns = 0
