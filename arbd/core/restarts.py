"""When a worker that ended is started again, and when to give up.

A worker that ends while it serves is replaced at once, as often as it happens: its task is to blame, not the daemon.
A worker that ends before it was ready could not boot: the next start waits, longer each time, and after
``MAX_BOOT_FAILURES`` in a row (over all workers; one that boots ends the row) the daemon stops, because what fails
every time cannot be mended by trying. The shape is OTP's restart intensity, with a pause instead of a period.
"""

from __future__ import annotations

from typing import Final

import backoff

MAX_BOOT_FAILURES: Final = 5
FIRST_PAUSE_S: Final = 0.1


class Restarts:
    """Counts boot failures in a row."""

    def __init__(self) -> None:
        self.booted()

    def booted(self) -> None:
        """A worker became ready: the row has ended."""
        self._failures = 0
        self._pauses = backoff.expo(factor=FIRST_PAUSE_S)
        next(self._pauses)  # its first value is for starting the generator

    def boot_failed(self) -> float | None:
        """A worker ended before it was ready. Seconds to wait before the next start, or ``None``: give up."""
        self._failures += 1
        if self._failures >= MAX_BOOT_FAILURES:
            return None
        return float(next(self._pauses))
