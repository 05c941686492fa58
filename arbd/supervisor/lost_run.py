"""A run that ended with its worker: how the worker ended, and when what happened, as far as its memory tells."""

from __future__ import annotations

import signal
from typing import NamedTuple, TypedDict

from arbd.core.dispatch import Assignment
from arbd.model.flight import Flight
from arbd.model.task import Status
from arbd.supervisor.worker import Worker


class WorkerEnd(TypedDict, total=False):
    """The way a worker ended: by ``signal`` or with ``exit_code``; neither where nobody can tell."""

    signal: str
    exit_code: int


def end_of(status: int | None) -> WorkerEnd:
    """A worker's end: the name of the signal, or the exit code."""
    if status is None:
        return {}
    if status >= 0:
        return {"exit_code": status}
    try:
        return {"signal": signal.Signals(-status).name}
    except ValueError:  # a real-time signal
        return {"signal": f"signal {-status}"}


class LostRun(NamedTuple):
    """A run that ended with its worker."""

    worker: Worker
    assignment: Assignment

    def flight(self, status: Status, now_ns: int) -> Flight:
        """Its times, as far as the worker's memory tells."""
        worker, assignment = self
        task, running = assignment.task, worker.cell.running()
        since_ns = running.since_ns if running.is_for(assignment.seq) else 0
        run_ns = max(0, now_ns - since_ns) if since_ns else 0
        at = (assignment.taken_ns, assignment.sent_ns, since_ns, 0, run_ns, now_ns)
        return Flight(task.id, task.action, worker.slot, worker.pid, status, *at)
