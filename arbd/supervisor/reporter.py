"""The daemon's reports about itself: it reads everybody's figures, and changes nothing.

Called on the event loop, where nothing moves while it looks; what the workers write meanwhile is one word at a time.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.metadata import version
from itertools import islice
from typing import Final

from arbd import logs
from arbd.control.reports import (
    ActionReport,
    DaemonState,
    LimitReport,
    OutOfService,
    PausedAction,
    Replacement,
    RunningTask,
    StatusReport,
    WorkerReport,
)
from arbd.core.lifecycle import State
from arbd.host import cpu_clock, footprint
from arbd.settings.table import Settings
from arbd.supervisor.flow import Flow
from arbd.supervisor.worker import Worker

_MOST_ENDING_ACTIONS: Final = 20


class Reporter:
    """Collects reports. ``asked_state``: the state that the daemon was asked for, ``None`` where it is to serve.
    ``at_next_start``: how many workers the next start has; as many as there are now, unless told otherwise."""

    def __init__(
        self,
        settings: Settings,
        flow: Flow,
        asked_state: Callable[[], DaemonState | None],
        at_next_start: Callable[[], int] | None = None,
    ) -> None:
        self.provider = settings.name
        self.settings = settings
        self.metrics = ""  # where they are served
        self._flow = flow
        self._pool = flow.pool
        self._asked_state = asked_state
        began_with = self._pool.size
        self._at_next_start = at_next_start or (lambda: began_with)
        self._started_at_ns = time.monotonic_ns()
        self._version = version("arbd")

    def status(self, *, with_footprints: bool = True) -> StatusReport:
        """The state of the daemon at this moment. ``with_footprints``: with what workers hold, 50 µs for each."""
        now_ns = time.monotonic_ns()
        workers = sorted(self._pool.workers.values(), key=lambda worker: (worker.slot, worker.id))
        reports = [self._worker(worker, now_ns, with_footprints) for worker in workers]
        return StatusReport(
            provider=self.provider,
            version=self._version,
            pid=os.getpid(),
            state=self._state(workers),
            uptime_s=(now_ns - self._started_at_ns) / 1e9,
            hub=self.settings.hub_url,
            link=self._flow.link.stats,
            workers=reports,
            in_flight=self._flow.in_flight(),
            backlog=self._flow.dispatcher.backlog,
            outbox=len(self._flow.outbox),
            outbox_limit=self.settings.outbox_limit,
            verdicts={str(status): count for status, count in self._flow.verdicts.counts.items()},
            log_lines_lost=logs.lines_lost(),
            replacements=[
                Replacement(slot, *why, ago_s=(now_ns - at_ns) / 1e9) for at_ns, slot, why in self._pool.history
            ],
            out_of_service=self._out_of_service(now_ns),
            ending_actions=dict(islice(self._flow.culprits.counts().items(), _MOST_ENDING_ACTIONS)),
            joined=self._flow.under_way.joined,
            workers_wanted=self._pool.size,
            workers_at_next_start=self._at_next_start(),
            paused=[PausedAction(*each) for each in self._flow.paused.describe(now_ns / 1e9)],
            metrics=self.metrics,
            actions=self._actions(Counter(each.running.action for each in reports if each.running)),
        )

    def _actions(self, running: Mapping[str, int]) -> list[ActionReport]:
        flow = self._flow
        reports = []
        for name, counts in flow.verdicts.tally:
            expected_ns, timeout_s = flow.dispatcher.expected_ns(name), flow.timeout_of(name)
            run_s = None if expected_ns is None else expected_ns / 1e9
            reports.append(ActionReport(name, **counts, running=running.get(name, 0), run_s=run_s, timeout_s=timeout_s))
        return reports

    def _out_of_service(self, now_ns: int) -> list[OutOfService]:
        return [
            OutOfService(slot, each.kind, each.reason, each.times, max(0, each.retry_at_ns - now_ns) / 1e9)
            for slot, each in self._pool.out_of_service().items()
        ]

    def limits(self) -> list[LimitReport]:
        """The rate limits, and how much of each is used at this moment."""
        return self._pool.limits.report({worker.id: worker.slot for worker in self._pool.workers.values()})

    def _state(self, workers: list[Worker]) -> DaemonState:
        asked = self._asked_state()
        if asked is not None:
            return asked
        return "serving" if any(worker.state is State.SERVING for worker in workers) else "starting"

    def _worker(self, worker: Worker, now_ns: int, with_footprints: bool) -> WorkerReport:
        tasks_done, busy_ns, cpu_ns = worker.cell.totals()
        running, waiting = self._tasks(worker, now_ns)
        return WorkerReport(
            slot=worker.slot,
            pid=worker.pid,
            cpus=self._pool.cpus_of(worker),
            state=worker.state.value,
            age_s=(now_ns - worker.spawned_at_ns) / 1e9,
            tasks_done=tasks_done,
            busy_s=busy_ns / 1e9 + (running.elapsed_s if running else 0),
            cpu_s=max(
                cpu_ns / 1e9, cpu_clock.used_s(worker.pid) if worker.pid else 0.0
            ),  # it tells of ended tasks only
            waiting=waiting,
            running=running,
            rss=footprint.rss_of(worker.pid) if worker.pid and with_footprints else None,
            descriptors=footprint.descriptors_of(worker.pid) if worker.pid and with_footprints else None,
            generation=worker.zygote.generation,
        )

    def running(self, worker: Worker) -> RunningTask | None:
        """The task that a worker runs."""
        return self._tasks(worker, time.monotonic_ns())[0]

    def _tasks(self, worker: Worker, now_ns: int) -> tuple[RunningTask | None, int]:
        """The task that a worker runs, and how many more it has."""
        if not self._flow.dispatcher.has_worker(worker.id):
            return None, 0
        has = self._flow.dispatcher.outstanding(worker.id)
        begun = worker.cell.running()
        assignment = has.get(begun.seq)
        if assignment is None or not begun.is_for(assignment.seq):
            return None, len(has)
        elapsed_s = max(0, now_ns - begun.since_ns) / 1e9
        task = assignment.task
        return RunningTask(task.id, task.action, elapsed_s, assignment.timeout), len(has) - 1
