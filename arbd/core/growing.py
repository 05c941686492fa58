"""Totals of counters that may begin anew: of a worker that is replaced, a link or a limit that is made again. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping


class Growing:
    """Totals by name that never fall. ``seen`` is told what each counter of one source says; one that says less than
    before has begun anew, and counts from zero."""

    def __init__(self, most: int = 10_000) -> None:
        self.totals: dict[str, int] = {}
        self._last: dict[Hashable, dict[str, int]] = {}
        self._most = most

    def seen(self, source: Hashable, counters: Mapping[str, int]) -> None:
        """Note what the counters of a source say now. Names beyond the most that are kept are not counted."""
        last = self._last.setdefault(source, {})
        totals = self.totals
        for name, count in counters.items():
            before = last.get(name, 0)
            if name not in totals:
                if len(totals) >= self._most:
                    continue
                totals[name] = 0
            totals[name] += count - before if count >= before else count
            last[name] = count

    def forget(self, source: Hashable) -> None:
        """A source is gone: what it had counted stays."""
        self._last.pop(source, None)

    def sources(self) -> list[Hashable]:
        """Those that have been seen and not forgotten."""
        return list(self._last)
