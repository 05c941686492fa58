"""What a daemon does in a second: the difference of two of its reports. Pure.

Time is the daemon's own uptime, so no two clocks are compared. Without an earlier report of the same daemon, or for a
worker that is in the later one alone, it is the mean since its start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from arbd.control.reports import ActionReport, StatusReport, WorkerReport


class WorkerRates(msgspec.Struct, frozen=True):
    """One worker: tasks in a second, and the parts of the time in which it was in a task and on a CPU."""

    tasks: float = 0.0
    busy: float = 0.0
    cpu: float = 0.0


class ActionRates(msgspec.Struct, frozen=True):
    """One action: verdicts in a second, by status."""

    success: float = 0.0
    error: float = 0.0
    limit: float = 0.0

    @property
    def all(self) -> float:
        """Verdicts of every status."""
        return self.success + self.error + self.limit


class DaemonRates(msgspec.Struct, frozen=True):
    """One daemon, over ``span_s`` seconds; ``since_start``: over all of its life. ``taken`` and ``accepted``: tasks
    from the hub, and results to it. ``workers`` in the order of the report."""

    span_s: float
    since_start: bool
    taken: float
    accepted: float
    verdicts: dict[str, float]
    workers: list[WorkerRates]
    actions: dict[str, ActionRates]


class _Process(NamedTuple):
    slot: int
    pid: int


def rates(before: StatusReport | None, now: StatusReport) -> DaemonRates:
    """What the daemon does in a second."""
    if before is not None and not is_of_same_daemon(before, now):
        before = None
    span_s = now.uptime_s - (before.uptime_s if before else 0.0)
    workers = {_Process(each.slot, each.pid): each for each in before.workers} if before else {}
    actions = {each.name: each for each in before.actions} if before else {}
    verdicts: Mapping[str, int] = before.verdicts if before else {}
    return DaemonRates(
        span_s=span_s,
        since_start=before is None,
        taken=_rate(now.link.tasks - (before.link.tasks if before else 0), span_s),
        accepted=_rate(now.link.accepted - (before.link.accepted if before else 0), span_s),
        verdicts={status: _rate(count - verdicts.get(status, 0), span_s) for status, count in now.verdicts.items()},
        workers=[_of_worker(workers.get(_Process(each.slot, each.pid)), each) for each in now.workers],
        actions={each.name: _of_action(actions.get(each.name), each, span_s) for each in now.actions},
    )


def is_of_same_daemon(before: StatusReport, now: StatusReport) -> bool:
    """Whether both reports are of one process; in a container each has the same number."""
    return before.pid == now.pid and before.uptime_s < now.uptime_s


def _of_worker(before: WorkerReport | None, now: WorkerReport) -> WorkerRates:
    if before is None or before.age_s >= now.age_s:
        span_s, tasks, busy_s, cpu_s = now.age_s, now.tasks_done, now.busy_s, now.cpu_s
    else:
        span_s, tasks = now.age_s - before.age_s, now.tasks_done - before.tasks_done
        busy_s, cpu_s = now.busy_s - before.busy_s, now.cpu_s - before.cpu_s
    return WorkerRates(_rate(tasks, span_s), min(1.0, _rate(busy_s, span_s)), _rate(cpu_s, span_s))


def _of_action(before: ActionReport | None, now: ActionReport, span_s: float) -> ActionRates:
    then = before or ActionReport(now.name)
    return ActionRates(
        _rate(now.success - then.success, span_s),
        _rate(now.error - then.error, span_s),
        _rate(now.limit - then.limit, span_s),
    )


def _rate(count: float, span_s: float) -> float:
    """In a second. Never below 0: an action that a reload took away and another brought back counts anew."""
    return max(0.0, count / span_s) if span_s > 0 else 0.0
