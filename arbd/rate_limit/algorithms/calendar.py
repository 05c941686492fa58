"""Business hours: one limit applies inside them, another outside.

The one place of rate limiting that looks at the clock on the wall, because that is what it is about. Rates and windows
themselves run on the monotonic clock: a clock that is set does not let anybody through twice.

Exact over daylight saving: opening and closing times are local times of their day, turned into moments by the time
zone's own rules. A local time that does not exist (the hour that is skipped) is read with the offset before the
change; one that exists twice opens at its first and closes at its second coming.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from arbd.rate_limit.algorithms.base import All, Limit
from arbd.rate_limit.usage import OUTSIDE

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOURS: Final = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
_AHEAD: Final = 10  # days looked ahead: from any moment looked up for, every weekday comes within them
_LOOKED_UP_NS: Final = 86_400_000_000_000
_ROUNDS: Final = 32  # changes of the hours that `next_at` looks past


class Hours:
    """Opening hours on some weekdays, in a time zone: pairs of minutes since midnight; weekday 0 is Monday. An end that
    is not after its start lies on the next day; the weekday is that of the start."""

    def __init__(self, spans: Iterable[tuple[int, int]], days: Iterable[int], timezone: tzinfo) -> None:
        self._spans = list(spans)
        self._days = frozenset(days)
        self._timezone = timezone
        self._changes: list[int] = []  # moments in ns since 1970; open from an even index to the next odd one
        self._known = (0, 0)  # the part of time for which `_changes` is complete

    def is_open(self, utc_ns: int) -> bool:
        """Whether this moment (nanoseconds since 1970, UTC) lies inside the hours."""
        self._look_up(utc_ns)
        return bisect_right(self._changes, utc_ns) % 2 == 1

    def change_after(self, utc_ns: int) -> int:
        """When the hours open or close next; for hours that never close, a moment to ask again."""
        self._look_up(utc_ns)
        index = bisect_right(self._changes, utc_ns)
        return self._changes[index] if index < len(self._changes) else self._known[1]

    def _look_up(self, utc_ns: int) -> None:
        if self._known[0] <= utc_ns < self._known[1]:
            return
        today = (_EPOCH + timedelta(microseconds=utc_ns // 1000)).astimezone(self._timezone).date()
        changes: list[int] = []
        for opens, closes in sorted(self._openings(today)):
            if changes and opens <= changes[-1]:
                changes[-1] = max(changes[-1], closes)
            else:
                changes += (opens, closes)
        self._changes = changes
        self._known = (utc_ns, utc_ns + _LOOKED_UP_NS)

    def _openings(self, today: date) -> Iterator[tuple[int, int]]:
        for ahead in range(-2, _AHEAD):
            day = today + timedelta(days=ahead)
            if day.weekday() not in self._days:
                continue
            for start, end in self._spans:
                opens = self._moment(day, start, fold=0)
                closes = self._moment(day, end if end > start else end + 24 * 60, fold=1)
                if opens < closes:  # not so where the clock skips all of it
                    yield opens, closes

    def _moment(self, day: date, minutes: int, *, fold: int) -> int:
        day += timedelta(days=minutes // (24 * 60))
        local = datetime.combine(day, time(minutes // 60 % 24, minutes % 60, fold=fold), self._timezone)
        return (local.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1) * 1000


class ByHours(All):
    """A limit that is ``inside`` during the hours and ``outside`` at all other times. Both record every call."""

    def __init__(self, hours: Hours, inside: Limit, outside: Limit) -> None:
        super().__init__((inside, outside))
        self._hours = hours
        self._inside = inside
        self._outside = outside
        self._utc_offset_ns = 0
        self.graded = inside.graded

    def _now(self, now_ns: int) -> Limit:
        return self._inside if self._hours.is_open(now_ns + self._utc_offset_ns) else self._outside

    def set_utc(self, now_ns: int, utc_ns: int) -> None:
        self._utc_offset_ns = utc_ns - now_ns

    def available(self, now_ns: int, outstanding: int) -> int:
        return self._now(now_ns).available(now_ns, outstanding)

    def next_at(self, now_ns: int, outstanding: int) -> int:
        from_ns = now_ns
        for _ in range(_ROUNDS):
            change_ns = self._hours.change_after(from_ns + self._utc_offset_ns) - self._utc_offset_ns
            next_ns = self._now(from_ns).next_at(from_ns, outstanding)
            if next_ns < change_ns:
                return next_ns
            from_ns = change_ns
        return from_ns

    def usage(self, now_ns: int, outstanding: int = 0) -> float:
        return self._now(now_ns).usage(now_ns, outstanding)

    def cpu_usage(self, now_ns: int, outstanding: int) -> float | None:
        return self._now(now_ns).cpu_usage(now_ns, outstanding)

    def cause(self, now_ns: int, outstanding: int) -> int:
        holds = self._now(now_ns)
        return holds.cause(now_ns, outstanding) | (OUTSIDE if holds is self._outside else 0)


def parse_hours(text: str) -> list[tuple[int, int]]:
    """Minutes since midnight of ``"09:00-18:00"``, or of several such spans with commas. Raises ``ValueError``."""
    spans = []
    for part in text.split(","):
        found = _HOURS.fullmatch(part.strip())
        if found is None:
            raise ValueError(f"business_hours: {part.strip()!r} is not of the form '09:00-18:00'")
        h1, m1, h2, m2 = map(int, found.groups())
        start, end = h1 * 60 + m1, h2 * 60 + m2
        if m1 > 59 or m2 > 59 or start >= 24 * 60 or end > 24 * 60:
            raise ValueError(f"business_hours: {part.strip()!r} names a time that no day has")
        spans.append((start, end))
    return spans


def parse_days(days: str | Iterable[str]) -> list[int]:
    """Weekdays (0 is Monday) of ``"mon-fri"``, ``"sat,sun"`` or a list of such words. Raises ``ValueError``."""
    found: set[int] = set()
    for part in days.split(",") if isinstance(days, str) else days:
        first, dash, last = (word.strip().lower()[:3] for word in str(part).partition("-"))
        try:
            start = DAYS.index(first)
            end = DAYS.index(last) if dash else start
        except ValueError:
            raise ValueError(
                f"days: {part!r} is no weekday or range of weekdays; write 'mon-fri' or 'sat,sun'"
            ) from None
        found.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    return sorted(found)
