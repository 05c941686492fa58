"""Rings workers that have become idle, so that they look after what they did; who is, is decided in
``arbd.core.idle_looks``. One timer, from the first answer of a worker until all have been rung."""

from __future__ import annotations

import asyncio

from arbd.core.idle_looks import APART_S, IdleLooks, Work
from arbd.host import doorbell
from arbd.supervisor.flow import Flow


class IdleLookTimer:
    """The timer of one flow."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._looks = IdleLooks()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        flow.on_collected = self._on_collected

    def close(self) -> None:
        """Ring no more."""
        self._flow.on_collected = lambda: None
        if self._timer is not None:
            self._timer.cancel()

    def _on_collected(self) -> None:
        self._looks.answered()
        if self._timer is None:
            self._timer = self._loop.call_later(APART_S, self._ring)

    def _ring(self) -> None:
        self._timer = None
        workers = self._flow.pool.workers
        # Without a fence before ``worker_sleeps``: what it says a moment too late costs a ring, or the next question.
        cells = ((worker_id, worker.cell) for worker_id, worker in workers.items())
        seen = [Work(worker_id, cell.tasks_done(), cell.worker_sleeps()) for worker_id, cell in cells]
        for worker_id in self._looks.due(seen):
            doorbell.ring(workers[worker_id].bell)
        if not self._looks.is_over:
            self._timer = self._loop.call_later(APART_S, self._ring)
