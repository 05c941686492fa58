"""Cancelling tasks that the hub does not want any more, wherever they are.

    waits for a worker     ─> taken out: CANCELLED
    waits in a ring        ─> its number goes into the worker's cell: the worker answers CANCELLED instead of running it
    runs                   ─> the same, and a signal: ``TaskCancelled`` is raised inside the action; if it still runs
                              after the grace, its worker is killed, as for a deadline: CANCELLED
    has its outcome        ─> nothing: the outcome stands

The ring is the worker's to read, so the worker looks: before each task, and when it is signalled. A signal that comes
when another task runs is ignored there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from arbd.core.dispatch import Dispatcher
from arbd.core.lifecycle import State
from arbd.model.response import cancelled
from arbd.supervisor.pool import Pool
from arbd.supervisor.verdicts import Verdicts
from arbd.supervisor.watch import Watch
from arbd.supervisor.worker import Worker


class Cancels:
    """See the module. ``grace_s``: from the signal to the kill."""

    def __init__(self, grace_s: float, dispatcher: Dispatcher, pool: Pool, watch: Watch, verdicts: Verdicts) -> None:
        self._grace_s = grace_s
        self._dispatcher = dispatcher
        self._pool = pool
        self._watch = watch
        self._verdicts = verdicts
        self._loop = asyncio.get_running_loop()

    def cancel(self, task_ids: Collection[str]) -> None:
        """Cancel these tasks; ids that are not known are ignored."""
        wanted = frozenset(task_ids)
        for assignment in self._dispatcher.withdraw(wanted):
            self._verdicts.give(assignment.task, cancelled(assignment.task.action))
        for worker_id, assignment in self._dispatcher.assigned(wanted):
            assignment.cancelled = True
            worker = self._pool.workers[worker_id]
            worker.cell.cancel(assignment.seq)
            worker.signal_cancel()
            self._loop.call_later(self._grace_s, self._end_grace, worker, assignment.seq)

    def _end_grace(self, worker: Worker, seq: int) -> None:
        if worker.state is State.CONDEMNED or not self._dispatcher.has_worker(worker.id):
            return
        assignment = self._dispatcher.outstanding(worker.id).get(seq)
        if assignment is not None:
            self._watch.judge(worker, assignment)
