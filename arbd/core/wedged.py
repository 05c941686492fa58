"""Which workers hang between two tasks: they have some in their ring, run none of them, and take none.

A task that runs too long is ended at its deadline (``arbd.core.deadlines``). A worker that was stopped, or that hangs,
before it has begun one would keep its tasks until the deadline of the first, which may be an hour away; they have not
begun, so others can have them. Between two tasks a worker needs milliseconds; a second where its memory comes back from
disk.

Counted in looks, not in seconds: a machine that stood still has not looked either.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

LOOK_S: Final = 2.0
"""The time between two looks, at most, while any worker has tasks."""
_LOOKS: Final = 3  # in a row, with nothing moved in between: 4 s to 6 s


class Unbegun(NamedTuple):
    """A worker that has tasks and runs none: the number of the first of them, and the places in its two rings up to
    which it has taken and answered."""

    worker_id: int
    first: int
    places: tuple[int, int]


class Wedged:
    """The judge of such workers."""

    def __init__(self) -> None:
        self._looks: dict[Unbegun, int] = {}
        self._looked_at = float("-inf")

    def look(self, now: float, waiting: Iterable[Unbegun]) -> list[int]:
        """The workers that hang. ``waiting``: all of them, whenever somebody has looked; looks sooner than
        ``LOOK_S`` after the one before count as none. Times are seconds of a monotonic clock."""
        if now - self._looked_at < 0.9 * LOOK_S:
            return []
        self._looked_at = now
        self._looks = {each: self._looks.get(each, 0) + 1 for each in waiting}
        return [each.worker_id for each, looks in self._looks.items() if looks >= _LOOKS]
