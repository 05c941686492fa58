"""What the end of a worker means for the tasks it had.

    killed for a late task ─> that task: TIMEOUT, at the kill             the others had not begun: back in line
    died by itself         ─> the task it was running: WORKER_LOST        the others had not begun: back in line
    its ring was damaged   ─> every task it had: WORKER_LOST              nobody can tell which of them had run

Results that were in its ring when it died count as given: they are collected first. One whose body cannot be had, for
want of a descriptor until the end, is lost with its worker: it must not run again.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TypedDict

from arbd.core.dispatch import Assignment, Dispatcher
from arbd.core.lifecycle import State
from arbd.ipc import frame
from arbd.logs import get_logger, task_fields
from arbd.model.response import cancelled, timed_out, worker_lost
from arbd.supervisor.verdicts import Verdicts
from arbd.supervisor.worker import Worker


class End(TypedDict, total=False):
    """How a worker ended: by ``signal`` or with ``exit_code``."""

    signal: str
    exit_code: int


class Losses:
    """Settles for workers that ended. ``collect`` takes all of a worker's results."""

    def __init__(self, dispatcher: Dispatcher, verdicts: Verdicts, collect: Callable[[Worker], None]) -> None:
        self._dispatcher = dispatcher
        self._verdicts = verdicts
        self._collect = collect
        self._log = get_logger("arbd.losses")

    def on_timeout(self, worker: Worker, assignment: Assignment) -> None:
        """It has just been killed because of this task."""
        task = assignment.task
        self._dispatcher.close_worker(worker.id)
        ran_ns = None if assignment.cancelled else round(assignment.timeout * 1e9)
        self._dispatcher.finish(worker.id, assignment.seq, ran_ns)
        late = cancelled(task.action) if assignment.cancelled else timed_out(task.action, assignment.timeout)
        self._verdicts.give(task, late)

    def on_gone(self, worker: Worker, status: int | None) -> None:
        """Its process has ended with this exit code, or minus a signal number; ``None``: nobody can tell."""
        try:
            self._collect(worker)
        finally:  # whatever was raised at one of its results
            if self._dispatcher.has_worker(worker.id):
                self._settle(worker, _how(status))

    def _settle(self, worker: Worker, how: End) -> None:
        had = self._dispatcher.outstanding(worker.id)
        cannot_tell = set(had) if worker.damaged else {frame.decode_result(each).seq for each in worker.unread}
        for seq in cannot_tell & had.keys():
            assignment = had[seq]
            self._dispatcher.finish(worker.id, seq, None)
            self._lose(worker, assignment, how)
        # A condemned worker has its verdict, and what its page names as running was parked before it began.
        running = 0 if worker.state is State.CONDEMNED else worker.cell.running().seq
        loss = self._dispatcher.remove_worker(worker.id, running)
        if loss.running is not None:
            self._lose(worker, loss.running, how)
        elif worker.state is State.SERVING:
            self._log.error("worker_died_idle", worker=worker.slot, pid=worker.pid, **how)

    def _lose(self, worker: Worker, assignment: Assignment, how: End) -> None:
        task = assignment.task
        fields = task_fields(task.id, task.action, task.traceparent)
        self._log.error("worker_lost", **fields, worker=worker.slot, pid=worker.pid, **how)
        self._verdicts.give(task, worker_lost(task.action, **how))


def _how(status: int | None) -> End:
    """A worker's end: the name of the signal, or the exit code."""
    if status is None:
        return {}
    if status >= 0:
        return {"exit_code": status}
    try:
        return {"signal": signal.Signals(-status).name}
    except ValueError:  # a real-time signal
        return {"signal": f"signal {-status}"}
