"""The end of a daemon's service: take no more, let running tasks finish, kill what is left, send every result.

stop_taking ─> every task settled, or drain_timeout, or "at once" ─> kill the rest: ABORTED ─┬─> flush ──────────┬─> ...
                                                                                             └─> end of workers ─┘
... ─> polls that a live hub still holds

Workers are told to leave before results are flushed, and end meanwhile: each has ``worker.stop_timeout`` for its stop
hooks, resources and ``atexit``, and is killed after that. "At once" or ``hurry`` leave them no more time. Polls are
waited for as long as one can take (``hub.long_poll`` and a margin): an answer may carry a task, which is answered as
ABORTED then. A hub that is gone holds none: the link finds that out.

``hurry`` makes it shorter, also while it is under way: something has failed. What fails in a step of the drain itself
is told to the event loop's exception handler, and the steps that follow are made all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from arbd.logs import get_logger
from arbd.logs.notable import note
from arbd.supervised import report, supervised
from arbd.supervisor import halt
from arbd.supervisor.flow import Flow
from arbd.supervisor.lives import STOP_MARGIN_S

FLUSH_MIN_S: Final = 5.0  # results get at least this long to reach the hub, even after a drain that took all its time
HURRIED_FLUSH_S: Final = 3.0
HURRIED_STOP_S: Final = 0.3
POLLS_MARGIN_S: Final = 15.0  # a poll's own deadline is 10 s later than the hub may hold it
_KILLED_S: Final = 0.5  # from a worker's kill to its removal, once its own time is over
_UNSETTLED_PAUSE_S: Final = 0.01
_SETTLED_LOOK_S: Final = 0.2  # a task may end without anybody's telling


class Drain:
    """One drain. ``at_once`` ends every wait in it. ``stop_timeout``: how long a worker may take to end, in seconds;
    ``long_poll``: how long the hub may hold a poll."""

    def __init__(self, flow: Flow, at_once: asyncio.Event, stop_timeout: float, long_poll: float) -> None:
        self._flow = flow
        self._at_once = at_once
        self.stop_timeout = stop_timeout
        self.long_poll = long_poll
        self._polls_have_ended = False
        self._hurried = asyncio.Event()
        self._hurried_until = 0.0  # seconds of the monotonic clock
        self._log = get_logger("arbd.drain")

    def hurry(self, timeout: float) -> None:
        """Running tasks have so many seconds from now on, whatever ``run`` was told; results a few more."""
        if not self._hurried.is_set():
            self._hurried_until = time.monotonic() + timeout
            self._hurried.set()

    async def run(self, timeout: float) -> bool:
        """Drain, at most ``timeout`` seconds and the time for the results; whether the hub has every result."""
        began_at = time.monotonic()
        deadline = began_at + timeout
        flow = self._flow
        note(self._log, "info", "draining", tasks=flow.in_flight(), results=len(flow.verdicts))
        self._attempt(flow.refuse_paused)
        if flow.pool.serves() or not self._hurried.is_set():
            await self._wait_for(self._last_task(), "drain", lambda: self._not_beyond(deadline))
        for step in (
            flow.pool.stop_replacing,
            flow.refuse_all,
            partial(halt.abort, flow),
            flow.verdicts.save_kept,
            flow.pool.tell_all_to_leave,
        ):
            self._attempt(step)
        stop_until = time.monotonic() + self.stop_timeout + STOP_MARGIN_S + _KILLED_S
        flush_from = time.monotonic()
        await self._wait_for(
            self._flush(max(FLUSH_MIN_S, deadline - flush_from)),
            "flush",
            lambda: flush_from + HURRIED_FLUSH_S if self._hurried.is_set() else max(deadline, flush_from + FLUSH_MIN_S),
        )
        hurried_until = time.monotonic() + HURRIED_STOP_S
        await self._wait_for(
            self._last_worker(), "workers' end", lambda: hurried_until if self._hurried.is_set() else stop_until
        )
        if not (self._polls_have_ended or self._hurried.is_set() or self._at_once.is_set()):
            await self._wait_for_polls(began_at + self.long_poll + POLLS_MARGIN_S)
        left = len(flow.verdicts)
        if left:
            self._log.error("results_not_sent", results=left)
        return left == 0

    def _not_beyond(self, deadline: float) -> float:
        return min(deadline, self._hurried_until) if self._hurried.is_set() else deadline

    async def _wait_for_polls(self, until: float) -> None:
        """Wait for the polls that the hub still holds, and have the answers to what they bring sent."""
        self._log.info("waiting_for_polls", at_most_s=round(max(0.0, until - time.monotonic()), 1))
        await self._wait_for(self._end_of_polls(), "the end of polls", lambda: 0.0 if self._hurried.is_set() else until)
        if self._flow.verdicts:
            flush_until = time.monotonic() + FLUSH_MIN_S
            await self._wait_for(self._flush(FLUSH_MIN_S), "flush", lambda: flush_until)

    async def _last_worker(self) -> None:
        while self._flow.pool.workers:
            await self._progress()

    async def _last_task(self) -> None:
        await self._end_of_polls()
        while self._flow.in_flight():
            await self._progress()

    async def _end_of_polls(self) -> None:
        try:
            await self._flow.link.stop_taking()
        except OSError as error:
            self._log.error("stop_taking_failed", reason=str(error))
        except Exception as error:  # the tasks that run are waited for all the same
            report(error, "the end of polls")
        self._polls_have_ended = True

    async def _progress(self) -> None:
        """Wait until something has ended, or for a while."""
        self._flow.progress.clear()
        try:
            async with asyncio.timeout(_SETTLED_LOOK_S):
                await self._flow.progress.wait()
        except TimeoutError:
            pass

    async def _flush(self, timeout: float) -> None:
        """Have the link send what is left, what the outbox did not take at first included. If that fails, it may be
        sending all the same: that is waited for."""
        until = time.monotonic() + timeout
        while True:
            try:
                await self._flow.link.flush(until - time.monotonic())
            except Exception as error:
                report(error, "the flush of results")
                while self._flow.verdicts:  # noqa: ASYNC110 # the link that would tell has just failed
                    await asyncio.sleep(_UNSETTLED_PAUSE_S)
            if not self._flow.verdicts or time.monotonic() >= until:
                return
            await asyncio.sleep(_UNSETTLED_PAUSE_S)
            self._attempt(self._flow.verdicts.save_kept)

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

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:
            report(error, "a step of the drain")
