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

from arbd.ipc.author_page import AuthorPageReader, Found
from arbd.model.metric import MetricDefinition, MetricKind

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
        self._limit = limit
        self._lines = 0
        self._over: set[AuthorPageReader] = set()
        self._newest: dict[str, Found] = {}  # definitions, by every name that they claim
        self._series: dict[tuple[object, ...], dict[tuple[str, ...], list[_Place]]] = {}  # by the definition's identity

    def families(self, pages: Iterable[AuthorPageReader]) -> list[AuthorFamily]:
        """The families of all metrics, in the order of their names, with what these pages hold now; then those that
        tell of the limit."""
        readers = list(pages)
        # By age, not by page: it is what a reader that begins anew sees, too.
        for found, reader in sorted(self._news(readers), key=lambda each: each[0].created_ns):
            self._take(found, reader)
        values = {reader: reader.values() for reader in readers}
        live = {reader for reader in readers if reader.is_live}
        definitions = {found.definition.name: found.definition for found in self._newest.values()}
        families = [self._family(definitions[name], values, live) for name in sorted(definitions)]
        return [*families, *(self._own(readers) if definitions else ())]

    def _news(self, readers: list[AuthorPageReader]) -> Iterator[tuple[Found, AuthorPageReader]]:
        for reader in readers:
            for found in reader.news():
                yield found, reader

    def _take(self, found: Found, reader: AuthorPageReader) -> None:
        if found.labelvalues is None:
            self._define(found)
            return
        series = self._series.setdefault(found.definition.identity, {})
        places = series.get(found.labelvalues)
        if places is None:
            if self._lines + found.definition.lines > self._limit:
                return
            self._lines += found.definition.lines
            places = series[found.labelvalues] = []
        places.append((reader, found.at))

    def _define(self, found: Found) -> None:
        rivals = [self._newest[name] for name in found.definition.claims if name in self._newest]
        if any(rival.created_ns > found.created_ns for rival in rivals):
            return
        for name in [name for name, each in self._newest.items() if any(each is rival for rival in rivals)]:
            del self._newest[name]
        self._newest |= dict.fromkeys(found.definition.claims, found)

    def _family(self, definition: MetricDefinition, values: _Values, live: set[AuthorPageReader]) -> AuthorFamily:
        samples: list[AuthorSample] = []
        for labelvalues, places in self._series.get(definition.identity, {}).items():
            labels = tuple(zip(definition.labelnames, labelvalues, strict=True))
            if definition.kind == "histogram":
                samples += _histogram(definition, labels, _sums(definition.cells, places, values))
            elif definition.kind == "counter":
                (total,) = _sums(1, places, values)
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
            (LIMIT_NAME, "gauge", "The most series that the author's metrics may have.", float(self._limit)),
        )
        for name, kind, documentation, value in figures:
            yield AuthorFamily(name, kind, documentation, [AuthorSample(name, (), value)])


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
