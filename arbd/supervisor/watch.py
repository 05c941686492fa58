"""Looks at what runs, at the right moments: is a task past its deadline, does another wait behind a slow one, or at a
worker that hangs?

Deadlines: when to look is decided in ``arbd.core.deadlines``; one timer, and an overdue task's worker is killed. The
same looks, at most ``LOOK_S`` apart while anybody has a task, find workers that hang before they begin one
(``arbd.core.wedged``).

Slow tasks: how long an action takes is learned, so a task that was taken for short may run for seconds, and others wait
in its worker's ring meanwhile. Whoever runs one task for longer than ``dispatch.RING_NS`` has the others taken back,
and they go to whoever is free first. One timer, and only while something waits behind another; a look costs one reading
of each such worker's page.

Both go through ``arbd.supervisor.halt``, which makes them exact.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from arbd.core import dispatch
from arbd.core.deadlines import Busy, Deadlines
from arbd.core.lifecycle import State
from arbd.core.wedged import LOOK_S, Unbegun, Wedged
from arbd.supervisor import halt
from arbd.supervisor.flow import Flow
from arbd.supervisor.worker import Worker

_RETRY_NS: Final = round(halt.RETRY_S * 1e9)
_SLOW_LOOK_S: Final = 0.02


class Watch:
    """Watches every worker that was sent something. ``grace_s``: from a task's deadline to the kill, in seconds."""

    def __init__(self, flow: Flow, grace_s: float) -> None:
        self._flow = flow
        self._deadlines = Deadlines(grace_s)
        self._wedged = Wedged()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._look_at_ns = 0
        self._shortest_s = 0.0  # the timeout that the planned look counts with
        self._slow_timer: asyncio.TimerHandle | None = None
        flow.on_sent = self.on_sent

    def close(self) -> None:
        """Look no more."""
        for timer in (self._timer, self._slow_timer):
            if timer is not None:
                timer.cancel()

    def on_sent(self, sent: set[int], shortest_s: float) -> None:
        """Tasks went to these workers, this the shortest timeout among them: there is something to look at."""
        if self._timer is None:
            self._read_shortest()
            self._arm(self._deadlines.first_look_at(time.monotonic_ns()))
        if shortest_s < self._shortest_s:  # it has a deadline of its own, or came with a reload
            self._arm(min(self._look_at_ns, self._deadlines.latest_look_at(time.monotonic_ns(), shortest_s)))
        if self._slow_timer is None and any(len(self._flow.dispatcher.outstanding(each)) > 1 for each in sent):
            self._look_for_slow_later()

    # -- deadlines -----------------------------------------------------------------------------------------

    def _read_shortest(self) -> None:
        self._shortest_s = self._flow.shortest_s
        self._deadlines.set_shortest(self._shortest_s)

    def _arm(self, at_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._look_at_ns = at_ns
        delay = min(LOOK_S, max(0, at_ns - time.monotonic_ns()) / 1e9)
        self._timer = self._loop.call_later(delay, self._look)

    def _look(self) -> None:
        self._timer = None
        try:
            self._judge_all()
        except BaseException:  # goes to who handles it, and until the daemon has ended deadlines hold
            self._arm(time.monotonic_ns() + _RETRY_NS)
            raise

    def _judge_all(self) -> None:
        now_ns = time.monotonic_ns()  # before the pages are read: what begins after that begins later than now
        workers, dispatcher = self._flow.pool.workers, self._flow.dispatcher
        busy = [
            Busy(worker_id, workers[worker_id].cell.running(), dispatcher.outstanding(worker_id))
            for worker_id in dispatcher.busy_workers()
            if workers[worker_id].state is not State.CONDEMNED
        ]
        self._read_shortest()
        look = self._deadlines.look(now_ns, busy)
        self._kill_wedged(now_ns, busy)
        judged = [halt.kill(self._flow, workers[worker_id], assignment) for worker_id, assignment in look.overdue]
        judged += [
            halt.kill(self._flow, workers[worker_id], assignment, unheard=True)
            for worker_id, assignment in look.unheard
        ]
        if not all(judged):
            self._arm(min(look.next_at_ns or self._look_at_ns, now_ns + _RETRY_NS))
        elif look.next_at_ns is not None:
            self._arm(look.next_at_ns)

    def _kill_wedged(self, now_ns: int, busy: list[Busy]) -> None:
        workers = self._flow.pool.workers
        waiting = [
            Unbegun(worker_id, next(iter(outstanding)), workers[worker_id].cell.places())
            for worker_id, running, outstanding in busy
            if running.seq not in outstanding
        ]
        for worker_id in self._wedged.look(now_ns / 1e9, waiting):
            if self._flow.dispatcher.has_worker(worker_id) and workers[worker_id].state is not State.CONDEMNED:
                halt.kill_idle(self._flow, workers[worker_id])

    # -- slow tasks ----------------------------------------------------------------------------------------

    def _look_for_slow_later(self) -> None:
        self._slow_timer = self._loop.call_later(_SLOW_LOOK_S, self._look_for_slow)

    def _look_for_slow(self) -> None:
        self._slow_timer = None
        try:
            self._take_back_all()
        except BaseException:  # as above: nobody waits behind a slow task because another look has failed
            if self._slow_timer is None:
                self._look_for_slow_later()
            raise

    def _take_back_all(self) -> None:
        for worker in self._crowded():
            if self._is_slow(worker):
                self._flow.collect_from(worker)  # it may have ended long ago, and nobody has looked since
        crowded = self._crowded()
        slow = [worker for worker in crowded if self._is_slow(worker)]
        for worker in slow:
            halt.take_back(self._flow, worker)
        if slow:
            self._flow.pump()
        if self._slow_timer is None and len(crowded) > len(slow):  # what was pumped may have set it
            self._look_for_slow_later()

    def _crowded(self) -> list[Worker]:
        """Workers with more than the one task they may be running, unless they are about to die."""
        dispatcher = self._flow.dispatcher
        busy = [self._flow.pool.workers[each] for each in dispatcher.busy_workers()]
        return [
            worker
            for worker in busy
            if worker.state in (State.SERVING, State.RETIRING) and len(dispatcher.outstanding(worker.id)) > 1
        ]

    def _is_slow(self, worker: Worker) -> bool:
        running = worker.cell.running()
        began = running.since_ns and running.seq in self._flow.dispatcher.outstanding(worker.id)
        return bool(began) and time.monotonic_ns() - running.since_ns > dispatch.RING_NS
