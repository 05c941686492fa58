"""Errors that repeat: the first of a kind is written whole, the others are counted and told of once a minute.

    first of its kind ──> written            again, within the minute ──> counted
    a minute later, some were counted ──> one line with their number, and a new minute
                    none was          ──> the kind is forgotten: the next one is written whole

Pure; time is seconds of a monotonic clock, and an argument. Several threads may call this at once: then a count may be
off by one, and nothing else happens. What a kind is, and what a line says, is ``arbd.logs``.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

EVERY_S: Final = 60.0
MOST_KINDS: Final = 256


class ErrorKind(NamedTuple):
    """A kind of error: what happened, of which action (empty: of none), the type of the exception, and the place in the
    source where it was raised."""

    what: str
    action: str
    error: str
    at: str


class Repeated(NamedTuple):
    """So many of a kind that were not written, within so many seconds."""

    kind: ErrorKind
    times: int
    in_s: float


class _Count:
    __slots__ = ("begun_at", "count")

    def __init__(self, begun_at: float) -> None:
        self.begun_at = begun_at
        self.count = 0


class Repeats:
    """The errors of one process that repeat. ``next_at``: when a count is due to be told; infinite: there is none."""

    def __init__(self, every_s: float = EVERY_S, most: int = MOST_KINDS) -> None:
        self._every_s = every_s
        self._most = most
        self.clear()

    def clear(self) -> None:
        """Begin anew: in a forked child what was counted is the parent's to tell."""
        self._counts: dict[ErrorKind, _Count] = {}
        self.next_at = math.inf

    def is_repeated(self, kind: ErrorKind, now: float) -> bool:
        """Whether one of this kind was written already; then this one is counted. Take what is due
        (``next_at``) before."""
        found = self._counts.get(kind)
        if found is not None and not found.count and now - found.begun_at >= self._every_s:
            self._counts.pop(kind, None)  # a quiet minute
            found = None
        if found is None and len(self._counts) >= self._most:
            self._forget_quiet(now)
        if found is None and len(self._counts) >= self._most:
            # Types or places that are made anew for each task must not fill the log, nor the memory.
            kind = ErrorKind(kind.what, kind.action, "others", "")
            found = self._counts.get(kind)
        if found is None:
            self._counts[kind] = _Count(now)
            return False
        found.count += 1
        self.next_at = min(self.next_at, found.begun_at + self._every_s)
        return True

    def _forget_quiet(self, now: float) -> None:
        for kind, each in list(self._counts.items()):
            if not each.count and now - each.begun_at >= self._every_s:
                self._counts.pop(kind, None)

    def take_due(self, now: float, *, all_of_them: bool = False) -> list[Repeated]:
        """The counts to be told now. ``all_of_them``: also those of a minute that is not over, at the end of a
        process."""
        told = []
        for kind, each in list(self._counts.items()):
            lasted = now - each.begun_at
            if lasted < self._every_s and not all_of_them:
                continue
            if each.count:
                told.append(Repeated(kind, each.count, lasted))
                each.begun_at, each.count = now, 0
            else:
                self._counts.pop(kind, None)
        waiting = [each.begun_at for each in list(self._counts.values()) if each.count]
        self.next_at = min(waiting) + self._every_s if waiting else math.inf
        return told
