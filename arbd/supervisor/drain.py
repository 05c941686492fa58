"""The end of a daemon's service: take no more, let running tasks finish, kill what is left, send every result.

stop_taking ─> every task settled, or drain_timeout, or "at once" ─> kill the rest: ABORTED ─> flush

``hurry`` makes it shorter, also while it is under way: something has failed. What fails in a step of the drain itself
is told to the event loop's exception handler, and the steps that follow are made all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from arbd.core.dispatch import Dispatcher
from arbd.core.lifecycle import State
from arbd.host.fence import make_fence
from arbd.ipc import layout
from arbd.links.base import HubLink
from arbd.logs import get_logger, task_fields
from arbd.model.response import aborted
from arbd.model.task import Task
from arbd.supervised import supervised
from arbd.supervisor.intake import Intake
from arbd.supervisor.pool import Pool
from arbd.supervisor.results import Results
from arbd.supervisor.verdicts import Verdicts
from arbd.supervisor.worker import Worker

FLUSH_MIN_S: Final = 5.0  # results get at least this long to reach the hub, even after a drain that took all its time
HURRIED_FLUSH_S: Final = 3.0
_UNSETTLED_PAUSE_S: Final = 0.01
_SETTLED_LOOK_S: Final = 0.2  # a task may end without anybody's telling
_KILLED_S: Final = 1.0  # for all workers together: SIGKILL takes well under a millisecond


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
        at_once: asyncio.Event,
    ) -> None:
        self._link = link
        self._dispatcher = dispatcher
        self._intake = intake
        self._pool = pool
        self._results = results
        self._verdicts = verdicts
        self._at_once = at_once
        self._fence = make_fence()
        self._loop = asyncio.get_running_loop()
        self._settled = asyncio.Event()
        self._taken_all = False
        self._hurried = asyncio.Event()
        self._hurried_until = 0.0  # seconds of the monotonic clock
        self._log = get_logger("arbd.drain")

    def note_settled(self) -> None:
        """Tasks may have ended: was the last one among them?"""
        if self._taken_all and self._dispatcher.in_flight() == 0:
            self._settled.set()

    def hurry(self, timeout: float) -> None:
        """Running tasks have so many seconds from now on, whatever ``run`` was told; results a few more."""
        if not self._hurried.is_set():
            self._hurried_until = time.monotonic() + timeout
            self._hurried.set()

    async def run(self, timeout: float) -> bool:
        """Drain, at most ``timeout`` seconds and the time for the results; whether the hub has every result."""
        deadline = time.monotonic() + timeout
        self._log.info("draining", tasks=self._dispatcher.in_flight(), results=self._verdicts.unsettled)
        if self._pool.serves() or not self._hurried.is_set():
            await self._wait_for(self._last_task(), "drain", lambda: self._not_beyond(deadline))
        for step in (self._kill_the_rest, self._intake.close, self._abort_the_rest, self._verdicts.save_kept):
            self._attempt(step)
        flush_from = time.monotonic()
        await self._wait_for(
            self._flush(max(FLUSH_MIN_S, deadline - flush_from)),
            "flush",
            lambda: flush_from + HURRIED_FLUSH_S if self._hurried.is_set() else max(deadline, flush_from + FLUSH_MIN_S),
        )
        left = self._verdicts.unsettled
        if left:
            self._log.error("results_not_sent", results=left)
        return left == 0

    def _not_beyond(self, deadline: float) -> float:
        return min(deadline, self._hurried_until) if self._hurried.is_set() else deadline

    async def _last_task(self) -> None:
        try:
            await self._link.stop_taking()
        except OSError as error:
            self._log.error("stop_taking_failed", reason=str(error))
        except Exception as error:  # the tasks that run are waited for all the same
            self._report(error)
        self._taken_all = True
        self.note_settled()
        while not self._settled.is_set():
            try:
                async with asyncio.timeout(_SETTLED_LOOK_S):
                    await self._settled.wait()
            except TimeoutError:
                self.note_settled()

    async def _flush(self, timeout: float) -> None:
        """Have the link send what is left, what the outbox did not take at first included. If that fails, it may be
        sending all the same: that is waited for."""
        until = time.monotonic() + timeout
        while True:
            try:
                await self._link.flush(until - time.monotonic())
            except Exception as error:
                self._report(error)
                while self._verdicts.unsettled:  # noqa: ASYNC110 # the link that would tell has just failed
                    await asyncio.sleep(_UNSETTLED_PAUSE_S)
            if not self._verdicts.unsettled or time.monotonic() >= until:
                return
            await asyncio.sleep(_UNSETTLED_PAUSE_S)
            self._attempt(self._verdicts.save_kept)

    async def _wait_for(self, what: Coroutine[Any, Any, Any], name: str, until: Callable[[], float]) -> None:
        """Wait for it, or for "at once", or until that moment, which being hurried brings nearer."""
        job = supervised(what, name)
        at_once = asyncio.ensure_future(self._at_once.wait())
        hurried = asyncio.ensure_future(self._hurried.wait())
        left = until() - time.monotonic()
        while left > 0 and not (job.done() or at_once.done()):
            waits = {job, at_once} if hurried.done() else {job, at_once, hurried}
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            left = until() - time.monotonic()
        for each in (job, at_once, hurried):
            each.cancel()
        # Not for ever: what was cancelled may be in a call that does not hear of it.
        await asyncio.wait({job, at_once, hurried}, timeout=1.0)

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            self._report(error)

    def _report(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "the drain failed in a step", "exception": error})

    # -- what is left --------------------------------------------------------------------------------------

    def _kill_the_rest(self) -> None:
        """As for a deadline: marked, so that none of them begins another task; killed; and looked at once more, because
        a result that was published before that is a result."""
        self._pool.stop_replacing()
        busy = [worker for worker in self._pool.workers.values() if self._has_tasks(worker)]
        for worker in busy:
            worker.cell.condemn(layout.STOP)
        self._fence()
        for worker in busy:
            self._attempt(partial(self._results.collect, worker))
        left = [worker for worker in busy if self._has_tasks(worker)]
        for worker in left:
            if worker.state is not State.CONDEMNED:
                self._dispatcher.close_worker(worker.id)
                self._pool.kill(worker)
        until = time.monotonic() + _KILLED_S
        for worker in left:
            worker.wait_gone(max(0.0, until - time.monotonic()))
            self._attempt(partial(self._results.collect, worker))

    def _has_tasks(self, worker: Worker) -> bool:
        return self._dispatcher.has_worker(worker.id) and bool(self._dispatcher.outstanding(worker.id))

    def _abort_the_rest(self) -> None:
        """Also what a dying worker had: nobody waits for its end, which would settle for it."""
        for assignment in self._dispatcher.drop_everything():
            self._attempt(partial(self._abort, assignment.task))
        self._verdicts.announce()

    def _abort(self, task: Task) -> None:
        self._log.warning("task_aborted", **task_fields(task.id, task.action, task.traceparent))
        self._verdicts.decide(task, aborted(task.action))
