"""The metrics of a daemon, on the supervisor's side: the page, and what is written into it once a second.

    flow ── each verdict ──> TaskMetrics ┐
    workers' totals, CPU time by action ─┼─ once a second ─> the metrics page ─> arbd:http
    reporter, limits, link ── Snapshot ──┘

Only with ``metrics.listen``; without, ``flow.metrics`` is ``None`` and nothing of this is there.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Final

import msgspec

from arbd.control import http_boot, snapshot
from arbd.control.reports import NotableEvent
from arbd.control.snapshot import LimitTotals, Snapshot
from arbd.core.growing import Growing
from arbd.core.metrics import TaskMetrics
from arbd.errors import ConfigError, os_reason
from arbd.host import memory
from arbd.ipc.metrics_page import MetricsWriter, SnapshotTooLongError, page_bytes
from arbd.logs import get_logger, notable
from arbd.logs.seldom import Seldom
from arbd.model.link_stats import COUNTERS
from arbd.rate_limit.words import in_words
from arbd.supervised import report
from arbd.supervisor.flow import Flow
from arbd.supervisor.http_process import HttpProcess
from arbd.supervisor.in_force import InForce
from arbd.supervisor.reporter import Reporter
from arbd.supervisor.worker import Worker

EVERY_S: Final = 1.0
ROWS: Final = 1024  # actions with a row of their own; a page of memory each, once it is used
SNAPSHOT_BYTES: Final = 16 * 1024 * 1024  # used as far as it is needed; a status of 1024 workers has about 300 KiB
_MOST_EVENTS: Final = 20
_SAME_LINE_EVERY_S: Final = 60.0


class MetricsPage:
    """The memory of the metrics page. Raises ``OSError`` if there is none to be had."""

    def __init__(self, rows: int = ROWS, snapshot_bytes: int = SNAPSHOT_BYTES) -> None:
        self.fd = memory.create("arbd-metrics", page_bytes(rows, snapshot_bytes))
        try:
            self.mapping: mmap.mmap = memory.attach(self.fd)
        except BaseException:
            os.close(self.fd)
            raise
        self.writer = MetricsWriter(memory.words_of(self.mapping), rows)
        self.tasks = TaskMetrics(self.writer)

    def close(self) -> None:
        """Close the descriptor; the memory goes with its last reader."""
        os.close(self.fd)


class Metrics:
    """Writes the page, once a second, from ``start`` on. ``address``: where it is served, as it stands in a URL."""

    def __init__(self, page: MetricsPage, flow: Flow, reporter: Reporter) -> None:
        self.address = ""
        self._page = page
        self._tasks = page.tasks
        self._flow = flow
        self._reporter = reporter
        self._link = Growing()
        self._link_failures = Growing()
        self._allowed, self._refused = Growing(), Growing()
        self._seen: dict[int, _SeenTotals] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._log = get_logger("arbd.metrics")
        self._told = Seldom(_SAME_LINE_EVERY_S, 4)

    def start(self) -> None:
        """Write the page now, and each second from now on."""
        self._timer = self._loop.call_later(EVERY_S, self.start)  # first: whatever is raised below
        self.write()

    def write_soon(self) -> None:
        """Write in the next turn of the loop: something has changed that nobody should learn a second late."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(0, self.start)

    def close(self) -> None:
        """Write no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def write(self) -> None:
        """Write what there is now into the page."""
        now_ns = time.monotonic_ns()
        for worker in self._flow.pool.workers.values():
            self._note_totals(worker, now_ns)
        self._tasks.publish()
        said = self._snapshot()
        if not self._has_written(said, now_ns):
            self._has_written(snapshot.shortened(said), now_ns)

    def _has_written(self, said: Snapshot, now_ns: int) -> bool:
        try:
            self._page.writer.write_snapshot(snapshot.encode(said), now_ns)
        except SnapshotTooLongError as error:
            if self._told.is_due("too long", now := time.monotonic()):
                self._told.write("too long", now)
                hint = "/metrics and the status page go without limits and the list of actions"
                self._log.error("metrics_not_written", reason=str(error), hint=hint)
            return False
        return True

    def worker_gone(self, worker: Worker) -> None:
        """A worker has ended; its memory can still be read. Whatever is wrong with that, its tasks are settled next."""
        try:
            self._note_totals(worker, time.monotonic_ns())
        except Exception as error:
            report(error, "the totals of a worker that has ended")
        self._seen.pop(worker.id, None)

    def _note_totals(self, worker: Worker, now_ns: int) -> None:
        seen = self._seen.get(worker.id)
        if seen is None:
            seen = self._seen[worker.id] = _SeenTotals(worker.spawned_at_ns)
            self._tasks.add_to_slot(worker.slot, (0, 0, 0, 1))
        _, busy_ns, cpu_ns = worker.cell.totals()
        most_ns = seen.most(now_ns)
        added = (
            worker.answered - seen.answered,
            _grown(seen.busy_ns, busy_ns, most_ns),
            _grown(seen.cpu_ns, cpu_ns, most_ns),
        )
        self._tasks.add_to_slot(worker.slot, added)
        seen.answered += added[0]
        seen.busy_ns += added[1]
        seen.cpu_ns += added[2]
        seen.at_ns = now_ns
        self._note_action_cpu(worker, seen, most_ns)

    def _note_action_cpu(self, worker: Worker, seen: _SeenTotals, most_ns: int) -> None:
        used = worker.action_cpu.tolist()
        if used == seen.by_action:
            return
        before = seen.by_action or [0] * len(used)
        for action, was_ns, is_ns in zip(worker.zygote.description.actions, before, used, strict=True):
            if is_ns != was_ns:
                self._tasks.used_cpu(action.name, _grown(was_ns, is_ns, most_ns))
        seen.by_action = used

    def _snapshot(self) -> Snapshot:
        flow, now = self._flow, time.monotonic()
        stats = flow.link.stats
        # One link after the other: a stream where the hub has it, else unary calls; each begins with zeros.
        source = "unary" if stats.protocol == "unary" else "stream"
        self._link.seen(source, {name: getattr(stats, name) for name in COUNTERS})
        self._link_failures.seen(source, stats.failures)
        return Snapshot(
            at=time.time(),
            status=self._reporter.status(with_footprints=False),
            limits=self._limits(),
            replaced=dict(flow.pool.replaced),
            link=self._link.totals,
            link_failures=self._link_failures.totals,
            events=[
                NotableEvent(each.number, now - each.at, each.level, each.event, each.fields)
                for each in notable.recent()[-_MOST_EVENTS:]
            ],
        )

    def _limits(self) -> list[LimitTotals]:
        now_ns = time.monotonic_ns()
        accounts = list(self._flow.pool.limits.accounts())
        usage: dict[str, float] = {}
        rules: dict[str, str] = {}
        troubled: set[str] = set()
        for account, trouble in accounts:
            name = account.spec.name
            self._allowed.seen(id(account), {name: account.spent})
            self._refused.seen(id(account), {name: account.refused})
            usage[name] = max(usage.get(name, 0.0), account.limit.usage(now_ns, account.outstanding))
            rules[name] = in_words(account.spec)
            if trouble is not None:
                troubled.add(name)
        there = {id(account) for account, _ in accounts}
        for each in self._allowed.sources():
            if each not in there:
                self._allowed.forget(each)
                self._refused.forget(each)
        allowed, refused = self._allowed.totals, self._refused.totals
        return [
            LimitTotals(name, used, allowed.get(name, 0), refused.get(name, 0), name in troubled, rules[name])
            for name, used in usage.items()
        ]


class _SeenTotals(msgspec.Struct):
    """What was last read of one worker's totals, and when."""

    at_ns: int
    answered: int = 0
    busy_ns: int = 0
    cpu_ns: int = 0
    by_action: list[int] = []

    def most(self, now_ns: int) -> int:
        """By how much a clock of one worker can have grown since; with its threads, it has all CPUs."""
        return (now_ns - self.at_ns + 1_000_000_000) * (os.cpu_count() or 1)


def _grown(before: int, after: int, most: int) -> int:
    """By how much it has grown; a worker's memory is the author's to damage, so never backwards, and never by more than
    can be."""
    return min(max(0, after - before), most)


@contextmanager
def opened() -> Iterator[MetricsPage]:
    """The page. Raises ``ConfigError`` if there is no memory to be had for it."""
    try:
        page = MetricsPage()
    except OSError as error:
        raise ConfigError([f"metrics.listen: no memory for the counters can be had: {os_reason(error)}"]) from error
    try:
        yield page
    finally:
        page.close()


def serve(
    page: MetricsPage,
    listener: socket.socket,
    flow: Flow,
    reporter: Reporter,
    in_force: InForce,
    started: AsyncExitStack,
) -> Metrics:
    """Count from now on, and serve that. ``started`` undoes it."""
    metrics = Metrics(page, flow, reporter)
    flow.on_worker_gone = metrics.worker_gone
    metrics.start()
    started.callback(metrics.close)
    process = HttpProcess(listener, page.fd, lambda: in_force.settings)
    pages = flow.pool.author_pages
    for number, fd in enumerate(pages.descriptors):
        process.add_page(http_boot.AUTHOR, number, fd)
    pages.on_new = lambda number, fd: process.add_page(http_boot.AUTHOR, number, fd)
    metrics.address = reporter.metrics = process.address
    process.start()
    started.callback(process.close)
    return metrics
