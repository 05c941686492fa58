"""The counting of tasks: how each action's tasks ended, how long they waited and ran. Pure.

    flow ── finished, decided, failed, … ──> lists of numbers ── publish, once a second ──> the metrics page

Counted by the supervisor, at the verdict: nothing is lost with a worker that is killed, and the sum over all actions
and outcomes is the number of verdicts. Counters only grow; who reads them is another process
(``arbd.ipc.metrics_page``, where the places in a row are).

What workers have answered is counted batch by batch, from the records of the flight recorder.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final

from arbd.ipc import metrics_page as page
from arbd.ipc.metrics_page import MetricsWriter
from arbd.model.flight import Flight
from arbd.model.reasons import NUMBER_OF, Reason

_OTHER: Final = NUMBER_OF["other"]
# Places in a list: those in a row of the page, without what comes before its counters.
_RUN_NS: Final = page.RUN_NS - page.COUNTERS_FROM
_WAIT_NS: Final = page.WAIT_NS - page.COUNTERS_FROM
_DECIDED_NS: Final = page.DECIDED_NS - page.COUNTERS_FROM
_CPU_NS: Final = page.CPU_NS - page.COUNTERS_FROM
_KILLS: Final = page.KILLS - page.COUNTERS_FROM
_WORKERS_ENDED: Final = page.WORKERS_ENDED - page.COUNTERS_FROM
_FAILURES: Final = page.FAILURES - page.COUNTERS_FROM
_RUN: Final = page.RUN - page.COUNTERS_FROM
_WAIT: Final = page.WAIT - page.COUNTERS_FROM
_OF_STATUS: Final = {status: at - page.COUNTERS_FROM for status, at in page.OF_STATUS.items()}
_COUNTERS: Final = page.COUNTERS_TO - page.COUNTERS_FROM


class _CountedRow:
    __slots__ = ("counters", "number", "published")

    def __init__(self, number: int) -> None:
        self.number = number
        self.counters = [0] * _COUNTERS
        self.published = list(self.counters)


class TaskMetrics:
    """The counters of one daemon. Only actions that are offered have a row of their own, so callers cannot make rows;
    all others share row 0. A row stays when its action goes, until another action needs it: then what it has counted
    goes over to row 0, so no sum ever falls."""

    def __init__(self, writer: MetricsWriter) -> None:
        self._writer = writer
        self._others = _CountedRow(0)
        self._rows: dict[str, _CountedRow] = {}
        self._unnamed: list[tuple[_CountedRow, str]] = []
        # The same lists again: one look-up less for each task.
        self._counters: dict[str, list[int]] = {}
        self._shared = self._others.counters
        self._slots: dict[int, list[int]] = {}

    def offer(self, actions: Iterable[str]) -> None:
        """Set which actions have rows from now on. Where there are more than rows, the last ones have none."""
        offered = dict.fromkeys(actions)
        for action in [action for action in offered if action not in self._rows]:
            number = self._free_row(offered)
            if number is None:
                break
            row = self._rows[action] = _CountedRow(number)
            self._counters[action] = row.counters
            self._unnamed.append((row, action))

    def _free_row(self, offered: dict[str, None]) -> int | None:
        """A row for one more action: the next, or that of an action which is not offered any more."""
        if len(self._rows) + 1 < self._writer.rows:
            return len(self._rows) + 1
        gone = next((action for action in self._rows if action not in offered), None)
        if gone is None:
            return None
        row = self._rows.pop(gone)
        del self._counters[gone]
        self._shared[:] = [each + more for each, more in zip(self._shared, row.counters, strict=True)]
        self._unnamed = [(each, name) for each, name in self._unnamed if each is not row]
        return row.number

    def publish(self) -> None:
        """Write what has changed since this was called last into the page: readers see all of it, or nothing."""
        writer = self._writer
        writer.begin_rows()
        try:
            unnamed, self._unnamed = self._unnamed, []
            for row, name in unnamed:
                writer.name_row(row.number, name)
                writer.write_row(row.number, array("Q", row.counters).tobytes())
            for row in (self._others, *self._rows.values()):
                if row.counters != row.published:
                    row.published = list(row.counters)
                    writer.write_row(row.number, array("Q", row.counters).tobytes())
            for slot, counters in self._slots.items():
                writer.write_slot(slot, array("Q", counters).tobytes())
        finally:
            writer.end_rows(len(self._rows) + 1)

    # -- counting ----------------------------------------------------------------------------------------------

    def finished(self, flights: Iterable[Flight]) -> None:
        """Tasks that a worker answered: how long each was here, and how long of that it ran, as the worker says; no
        longer than it was here."""
        counters, shared = self._counters, self._shared
        for flight in flights:
            row = counters.get(flight.action, shared)
            took_ns = flight.answered_ns - flight.taken_ns if flight.taken_ns else 0
            run_ns = flight.run_ns
            if run_ns > took_ns:
                run_ns = took_ns
            wait_ns = took_ns - run_ns
            row[_OF_STATUS[flight.status] + took_ns.bit_length()] += 1
            row[_RUN + run_ns.bit_length()] += 1
            row[_WAIT + wait_ns.bit_length()] += 1
            row[_RUN_NS] += run_ns
            row[_WAIT_NS] += wait_ns

    def decided(self, action: str, status: str, reason: Reason, took_ns: int) -> None:
        """A task that the supervisor itself answered, so long after it came."""
        took_ns = max(0, took_ns)
        row = self._counters.get(action, self._shared)
        row[_OF_STATUS[status] + took_ns.bit_length()] += 1
        row[_DECIDED_NS] += took_ns
        if status == "error":
            row[_FAILURES + NUMBER_OF[reason]] += 1

    def failed(self, action: str, reason: int) -> None:
        """A task that ``finished`` ended with an error: the number of the reason, which a worker gave."""
        self._counters.get(action, self._shared)[_FAILURES + (reason if reason < len(NUMBER_OF) else _OTHER)] += 1

    def killed(self, action: str) -> None:
        """A worker was killed for a task of this action."""
        self._counters.get(action, self._shared)[_KILLS] += 1

    def ended_worker(self, action: str) -> None:
        """A worker ended, or was ended, for this action."""
        self._counters.get(action, self._shared)[_WORKERS_ENDED] += 1

    def used_cpu(self, action: str, cpu_ns: int) -> None:
        """A worker has used so much CPU time for this action."""
        self._counters.get(action, self._shared)[_CPU_NS] += cpu_ns

    def add_to_slot(self, slot: int, counts: Sequence[int]) -> None:
        """Add to the counters of a slot, in their order."""
        counters = self._slots.setdefault(slot, [0] * page.SLOT_WORDS)
        for index, count in enumerate(counts):
            counters[index] += count
