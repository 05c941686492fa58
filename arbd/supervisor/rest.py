"""Rings workers that have come to rest, so that they look after what they did; who has is decided in
``arbd.core.rested``. One timer, from the first answer until all have been rung."""

from __future__ import annotations

import asyncio

from arbd.core.rested import APART_S, Rested, Work
from arbd.host import doorbell
from arbd.supervisor.flow import Flow


class Rest:
    """Sees all workers of a flow to their rest."""

    def __init__(self, flow: Flow) -> None:
        self._pool = flow.pool
        self._rested = Rested()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        flow.on_collected = self.begin

    def begin(self) -> None:
        """Workers have answered."""
        if self._timer is None:
            self._timer = self._loop.call_later(APART_S, self._look)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        workers = self._pool.workers
        cells = ((worker_id, worker.cell) for worker_id, worker in workers.items())
        seen = [Work(worker_id, cell.tasks_done(), cell.worker_sleeps()) for worker_id, cell in cells]
        for worker_id in self._rested.look(seen):
            doorbell.ring(workers[worker_id].bell)
        if not self._rested.are_all:
            self.begin()
