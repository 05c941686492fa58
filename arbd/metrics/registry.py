"""The registry: every metric of this process, and the memory that their series count in.

    define ─> checked, and refused with everything that is wrong with it ─> in the page
    series ─> a place in the page, or, where there is no room, one that drops and counts what it is given
    move   ─> this process has become a worker: the same series in the worker's page

A process begins with a page in its own memory: the zygote, a test, a program of the author's. What a module counts
while it is imported stays there, for else each worker would bring it again; gauges that it has set come along.

In a child that an action has forked nothing is counted: two processes that add to the same word would lose from it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from arbd.errors import RegistrationError
from arbd.interrupts import uninterruptible
from arbd.ipc import author_page
from arbd.ipc.author_page import AuthorPageWriter
from arbd.model.metric import MetricDefinition, problems


class Mark(Protocol):
    """Something whose item 0 is true in this process only (``arbd.host.fork_mark``)."""

    def __getitem__(self, index: int, /) -> int: ...


class Cells(Protocol):
    """The values of one series."""

    def __getitem__(self, index: int, /) -> float: ...
    def __setitem__(self, index: int, value: float, /) -> None: ...


class Series(Protocol):
    """One series, as the author has it in hand; ``cells`` may be replaced at any moment."""

    cells: Cells


class _Entry(NamedTuple):
    definition: MetricDefinition
    place: str
    metric: object


class Registry:
    """All metrics of a process. ``words``: memory that is a page (``author_page.begin``)."""

    def __init__(self, words: memoryview | None = None) -> None:
        self.here: Mark = b"\x01"
        self.words = _own_page() if words is None else words
        self._page = AuthorPageWriter(self.words)
        # Of this process alone: a worker that is killed takes it along. Reentrant, because a signal's handler or a
        # __del__ of the author's may come here while its own thread has it.
        self._lock = threading.RLock()
        self._entries: dict[str, _Entry] = {}  # by every name that is taken
        self._series: list[tuple[MetricDefinition, tuple[str, ...], Series]] = []

    def known(self, definition: MetricDefinition, place: str) -> object | None:
        """The metric that this definition has already; ``None``: it is new. Raises ``RegistrationError`` if it cannot
        be, or another metric has its name. ``place``: where it is defined, for whoever reads the error."""
        found = list(problems(definition))
        if found:
            raise RegistrationError(f"a {definition.kind} at {place} cannot be: {'; '.join(found)}")
        for name in definition.claims:
            entry = self._entries.get(name)
            if entry is None:
                continue
            if entry.definition == definition:
                return entry.metric
            raise RegistrationError(_conflict(name, definition, place, entry))
        return None

    @uninterruptible
    def add(self, definition: MetricDefinition, place: str, metric: object) -> None:
        """Add a metric that is not ``known``."""
        with self._lock:
            entry = _Entry(definition, place, metric)
            self._entries |= dict.fromkeys(definition.claims, entry)
            if not self._page.define(definition, time.monotonic_ns()):
                self._no_room(definition.name)

    @uninterruptible
    def join(self, definition: MetricDefinition, labelvalues: tuple[str, ...], series: Series) -> bool:
        """Give a new series its values; ``False``: there is no room, and it drops what it is given."""
        if not self.here[0]:
            series.cells = [0.0] * definition.cells
            return False  # a forked child: another thread may have had the lock
        with self._lock:
            cells = self._page.series(definition, labelvalues, time.monotonic_ns())
            series.cells = self._or_dropping(cells, definition)
            if cells is not None or not labelvalues:
                self._series.append((definition, labelvalues, series))
            return cells is not None

    def drop(self, name: str, reason: str) -> None:
        """Count an update that cannot be counted; the log is told of the first."""
        if self.here[0]:
            self._page.drop()
            self._tell(name, reason)

    def _tell(self, name: str, reason: str) -> None:
        if self.here[0] and self._page.tell():
            from arbd.logs import get_logger  # here: hardly anybody needs it

            get_logger("arbd.metrics").warning(
                "metric_update_dropped",
                metric=name,
                reason=reason,
                hint="told once; arbd_author_updates_dropped_total counts them",
            )

    def move(self, words: memoryview, worker_id: int, here: Mark) -> None:
        """Count in this page from now on: this process has become that worker. ``here``: its mark. Before the author's
        code runs there. Raises ``ValueError`` if the memory is no page."""
        page = AuthorPageWriter(words)
        with self._lock:
            self.here, self.words, self._page = here, words, page
            now_ns = time.monotonic_ns()
            for definition in dict.fromkeys(entry.definition for entry in self._entries.values()):
                if not page.define(definition, now_ns):
                    self._no_room(definition.name)
            for definition, labelvalues, series in self._series:
                before, cells = series.cells, page.series(definition, labelvalues, now_ns)
                series.cells = self._or_dropping(cells, definition)
                if definition.kind == "gauge" and cells is not None:
                    cells[0], cells[1] = before[0], before[1]
            page.attach(worker_id)

    def _or_dropping(self, cells: Cells | None, definition: MetricDefinition) -> Cells:
        if cells is not None:
            return cells
        self._no_room(definition.name)
        return _Dropping(lambda: self.drop(definition.name, self._full))

    def _no_room(self, name: str) -> None:
        self._tell(name, self._full)

    @property
    def _full(self) -> str:
        return (
            f"the provider's metrics have more than {self._page.limit} series (metrics.author_series); raise that, or "
            "use labels with fewer values: no ids, no texts of callers"
        )


class _Dropping:
    """The values of a series for which there is no room."""

    def __init__(self, drop: Callable[[], None]) -> None:
        self._drop = drop

    def __getitem__(self, _index: int) -> float:
        return 0.0

    def __setitem__(self, index: int, _value: float) -> None:
        if index == 0:  # each update stores there, and in other places, too
            self._drop()


def _conflict(name: str, new: MetricDefinition, place: str, old: _Entry) -> str:
    if new.name == old.definition.name and str(new) == str(old.definition):
        what = "with another documentation, other buckets or another over_workers"
    else:
        what = f"as a {old.definition}" + ("" if new.name == old.definition.name else f" named {old.definition.name!r}")
    return (
        f"the metric {name!r} is defined at {place} as a {new}, and was defined {what} at {old.place}; give one of "
        "them another name, or define it once and import it"
    )


def _own_page() -> memoryview:
    words = memoryview(bytearray(author_page.page_bytes(author_page.DEFAULT_LIMIT))).cast("Q")
    author_page.begin(words, author_page.DEFAULT_LIMIT)
    return words


REGISTRY: Final = Registry()
