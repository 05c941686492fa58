"""An author's metrics out of the workers' pages: one family for each, summed over all workers.

    pages ──news──> definitions and series, each with its places in pages ──values──> families

A page never goes away and never gets smaller (``arbd.ipc.author_page``), so no counter falls: not when a worker dies,
and not when it is replaced. There are at most so many series as one page has room for. The oldest are taken, so that a
reader that begins anew takes the same ones.

Where code that was loaded anew has made another thing of a name, the newer definition holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from arbd.ipc.author_page import AuthorPageReader, FoundRecord
from arbd.model.metric import MetricDefinition, MetricKind
from arbd.printable import printable_lines

DROPPED_NAME: Final = "arbd_author_updates_dropped_total"
SERIES_NAME: Final = "arbd_author_series"
LIMIT_NAME: Final = "arbd_author_series_limit"

_Place = tuple[AuthorPageReader, int]
_Values = dict[AuthorPageReader, Sequence[float]]


class AuthorSample(NamedTuple):
    """One line: its name, its labels in order, its value."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class AuthorFamily(NamedTuple):
    """One metric as it is read: ``name`` is that of its lines, for a histogram without what they add to it."""

    name: str
    kind: MetricKind
    documentation: str
    samples: list[AuthorSample]


class AuthorMetrics:
    """The metrics of the author's, as far as pages were read. ``limit``: how many lines there may be."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lines = 0
        self._definitions: list[MetricDefinition] = []  # those that hold
        self._states: list[tuple[int, int]] = []  # of the pages that they are from
        self._series: dict[tuple[object, ...], dict[tuple[str, ...], list[_Place]]] = {}  # by the definition's identity

    def families(self, pages: Iterable[AuthorPageReader]) -> list[AuthorFamily]:
        """The families of all metrics, in the order of their names, with what these pages hold now; then those that
        tell of the limit."""
        readers = list(pages)
        # By age, not by page: it is what a reader that begins anew sees, too.
        for found, reader in sorted(self._news(readers), key=lambda each: each[0].created_ns):
            self._take(found, reader)
        states = [reader.state for reader in readers]
        if states != self._states:
            self._states, self._definitions = states, _that_hold(readers)
        values = {reader: reader.values() for reader in readers}
        live = {reader for reader in readers if reader.is_live}
        families = [self._family(definition, values, live) for definition in self._definitions]
        return [*families, *(self._own(readers) if families else ())]

    def _news(self, readers: list[AuthorPageReader]) -> Iterator[tuple[FoundRecord, AuthorPageReader]]:
        for reader in readers:
            for found in reader.news():
                yield found, reader

    def _take(self, found: FoundRecord, reader: AuthorPageReader) -> None:
        if found.labelvalues is None:
            return
        series = self._series.setdefault(found.definition.identity, {})
        labelvalues = tuple(map(printable_lines, found.labelvalues))  # as they are shown: no series is there twice
        places = series.get(labelvalues)
        if places is None:
            if self._lines + found.definition.lines > self.limit:
                return
            self._lines += found.definition.lines
            places = series[labelvalues] = []
        places.append((reader, found.at))

    def _family(self, definition: MetricDefinition, values: _Values, live: set[AuthorPageReader]) -> AuthorFamily:
        samples: list[AuthorSample] = []
        for labelvalues, places in self._series.get(definition.identity, {}).items():
            labels = tuple(zip(definition.labelnames, labelvalues, strict=True))
            if definition.kind == "histogram":
                samples += _histogram(definition, labels, _sums(definition.cells, places, values))
            elif definition.kind == "counter":
                total = sum([values[page][at] for page, at in places if page in values], 0.0)
                samples.append(AuthorSample(f"{definition.name}_total", labels, total))
            else:
                now = [(each[at], each[at + 1]) for page, at in places if page in live and (each := values.get(page))]
                if (value := _gauge(definition, now)) is not None:
                    samples.append(AuthorSample(definition.name, labels, value))
        name = f"{definition.name}_total" if definition.kind == "counter" else definition.name
        return AuthorFamily(name, definition.kind, definition.documentation, samples)

    def _own(self, readers: list[AuthorPageReader]) -> Iterator[AuthorFamily]:
        """What tells of the limit; not where the author has no metrics."""
        figures: tuple[tuple[str, Literal["counter", "gauge"], str, float], ...] = (
            (
                *(DROPPED_NAME, "counter"),
                "Updates of the author's metrics that were not counted: above the limit of series, or no numbers.",
                float(sum(reader.dropped for reader in readers)),
            ),
            (SERIES_NAME, "gauge", "Series of the author's metrics.", float(self._lines)),
            (LIMIT_NAME, "gauge", "The most series that the author's metrics may have.", float(self.limit)),
        )
        for name, kind, documentation, value in figures:
            yield AuthorFamily(name, kind, documentation, [AuthorSample(name, (), value)])


def _that_hold(readers: Iterable[AuthorPageReader]) -> list[MetricDefinition]:
    """The definitions by their names, where several claim one that whose worker has begun last."""
    found = sorted((each for reader in readers for each in reader.definitions), key=lambda each: -each[0])
    holds: dict[str, MetricDefinition] = {}
    claimed: set[str] = set()
    for _, definition in found:
        if claimed.isdisjoint(definition.claims):
            claimed.update(definition.claims)
            holds[definition.name] = definition
    return [holds[name] for name in sorted(holds)]


def _sums(cells: int, places: list[_Place], values: _Values) -> list[float]:
    sums = [0.0] * cells
    for page, at in places:
        found = values.get(page)
        if found is not None:
            for cell in range(cells):
                sums[cell] += found[at + cell]
    return sums


def _gauge(definition: MetricDefinition, now: list[tuple[float, float]]) -> float | None:
    """The workers' values as one; ``None``: there is none. Each has a value, and when it was set last, or 0."""
    when_set = [(value, at) for value, at in now if at]
    if not when_set:
        # As where it is constructed: a gauge without labels begins at 0, one with labels is not there before it is set.
        return 0.0 if now and not definition.labelnames else None
    if definition.over_workers == "last":
        return max(when_set, key=lambda each: each[1])[0]
    found = [value for value, _ in when_set]
    if definition.over_workers == "sum":
        return sum(found)
    return max(found) if definition.over_workers == "max" else min(found)


def _histogram(
    definition: MetricDefinition, labels: tuple[tuple[str, str], ...], sums: list[float]
) -> Iterator[AuthorSample]:
    name = definition.name
    counts = list(accumulate(sums[1:]))
    for bound, count in zip((*definition.buckets, float("inf")), counts, strict=True):
        yield AuthorSample(f"{name}_bucket", (*labels, ("le", _bound(bound))), count)
    yield AuthorSample(f"{name}_sum", labels, sums[0])
    yield AuthorSample(f"{name}_count", labels, counts[-1])


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(bound)
