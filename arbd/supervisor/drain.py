"""The end of a daemon's service: take no more, let running tasks finish, kill what is left, send every result.

stop_taking ─> every task settled, or drain_timeout, or "at once" ─> kill the rest: ABORTED ─> flush
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Final

from arbd.core import layout
from arbd.core.dispatch import Dispatcher
from arbd.core.lifecycle import State
from arbd.core.outbox import Outbox
from arbd.hub.base import HubLink
from arbd.logs import get_logger, task_fields
from arbd.response import aborted
from arbd.supervisor.intake import Intake
from arbd.supervisor.pool import Pool, Worker
from arbd.supervisor.results import Results
from arbd.supervisor.verdicts import Verdicts

FLUSH_MIN_S: Final = 5.0  # results get at least this long to reach the hub, even after a drain that took all its time


class Drain:
    """One drain. ``at_once`` ends every wait in it."""

    def __init__(
        self,
        *,
        link: HubLink,
        dispatcher: Dispatcher,
        intake: Intake,
        pool: Pool,
        results: Results,
        verdicts: Verdicts,
        outbox: Outbox,
        at_once: asyncio.Event,
    ) -> None:
        self._link = link
        self._dispatcher = dispatcher
        self._intake = intake
        self._pool = pool
        self._results = results
        self._verdicts = verdicts
        self._outbox = outbox
        self._at_once = at_once
        self._settled = asyncio.Event()
        self._taken_all = False
        self._log = get_logger("arbd.drain")

    def note_settled(self) -> None:
        """Tasks may have ended: was the last one among them?"""
        if self._taken_all and self._dispatcher.in_flight() == 0:
            self._settled.set()

    async def run(self, timeout: float) -> bool:
        """Drain, at most ``timeout`` seconds and the time for the results; whether the hub has every result."""
        deadline = time.monotonic() + timeout
        self._log.info("draining", tasks=self._dispatcher.in_flight(), results=len(self._outbox))
        await self._wait_for(self._last_task(), until=deadline)
        self._kill_the_rest()
        flush_until = max(deadline, time.monotonic() + FLUSH_MIN_S)
        await self._wait_for(self._link.flush(flush_until - time.monotonic()), until=flush_until)
        if len(self._outbox):
            self._log.error("results_not_sent", results=len(self._outbox))
        return len(self._outbox) == 0

    async def _last_task(self) -> None:
        await self._link.stop_taking()
        self._taken_all = True
        self.note_settled()
        await self._settled.wait()

    async def _wait_for(self, what: Awaitable[Any], until: float) -> None:
        """Wait for it, or for "at once", or until that moment."""
        waits = [asyncio.ensure_future(what), asyncio.ensure_future(self._at_once.wait())]
        await asyncio.wait(waits, timeout=max(0, until - time.monotonic()), return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    def _kill_the_rest(self) -> None:
        self._pool.stop_replacing()
        for worker in list(self._pool.workers.values()):
            if self._dispatcher.has_worker(worker.id) and self._dispatcher.outstanding(worker.id):
                self._abort(worker)
        self._intake.close()  # after the workers: one may have said of a task that it has skipped it

    def _abort(self, worker: Worker) -> None:
        """Also for a worker that is dying already: nobody waits for its end, which would settle for what it had."""
        if worker.state is not State.CONDEMNED:
            worker.cell.condemn(layout.STOP)
            self._results.collect(worker)
        left = list(self._dispatcher.outstanding(worker.id).values())
        if left and worker.state is not State.CONDEMNED:
            self._dispatcher.close_worker(worker.id)
            self._pool.kill(worker)
        for assignment in left:
            task = assignment.task
            self._dispatcher.finish(worker.id, assignment.seq, None)
            fields = task_fields(task.id, task.action, task.traceparent)
            self._log.warning("task_aborted", **fields, worker=worker.slot)
            self._verdicts.give(task, aborted(task.action))
