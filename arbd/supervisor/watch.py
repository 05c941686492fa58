"""Hard deadlines: one timer, and the kill.

When to look is decided in ``arbd.core.deadlines``. The kill is exact, because a worker may finish, and begin an
innocent task, in the very moment in which it is judged::

    condemn ─> fence ─> collect its results ─> does it still run the overdue task? ──no──> lift the mark
                                                        └──yes──> it can begin nothing else now: SIGKILL

The verdict is given at the kill; the tasks that wait in the dead worker's ring go to others when its end is reported.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from arbd.core.deadlines import Busy, Deadlines
from arbd.core.dispatch import Assignment, Dispatcher
from arbd.core.lifecycle import State
from arbd.host.fence import make_fence
from arbd.ipc import layout
from arbd.logs import get_logger, task_fields
from arbd.supervisor.pool import Pool
from arbd.supervisor.worker import Worker

_RETRY_NS: Final = 50_000_000


class Overdue(Protocol):
    """Told about a task whose worker has just been killed for it."""

    def __call__(self, worker: Worker, assignment: Assignment) -> None: ...


class Watch:
    """Looks at the right moments. ``collect`` takes all of a worker's results; ``on_timeout`` gives the verdict."""

    def __init__(self, grace_s: float, dispatcher: Dispatcher, pool: Pool) -> None:
        self._deadlines = Deadlines(grace_s)
        self._dispatcher = dispatcher
        self._pool = pool
        self._fence = make_fence()
        self._log = get_logger("arbd.watch")
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._look_at_ns = 0
        self._shortest_s = 0.0
        self._collect: Callable[[Worker], None]
        self._on_timeout: Overdue

    def start(self, collect: Callable[[Worker], None], on_timeout: Overdue) -> None:
        """Tell it whom to ask and whom to tell."""
        self._collect = collect
        self._on_timeout = on_timeout

    def set_shortest(self, timeout_s: float) -> None:
        """The shortest timeout of any action. A look that is planned for what runs already stays."""
        self._shortest_s = timeout_s
        self._deadlines.set_shortest(timeout_s)
        if self._timer is not None:
            self._arm(min(self._look_at_ns, self._deadlines.first_look_at(time.monotonic_ns())))

    def on_dispatch(self, timeout_s: float) -> None:
        """Tasks went to workers, this the shortest timeout among them: there is something to look at from now on."""
        if self._timer is None:
            self._arm(self._deadlines.first_look_at(time.monotonic_ns()))
        if timeout_s < self._shortest_s:  # it has a deadline of its own
            self._arm(min(self._look_at_ns, self._deadlines.latest_look_at(time.monotonic_ns(), timeout_s)))

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._look_at_ns = at_ns
        delay = max(0, at_ns - time.monotonic_ns()) / 1e9
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
        workers = self._pool.workers
        busy = [
            Busy(worker_id, workers[worker_id].cell.running(), self._dispatcher.outstanding(worker_id))
            for worker_id in self._dispatcher.busy_workers()
            if workers[worker_id].state is not State.CONDEMNED
        ]
        look = self._deadlines.look(now_ns, busy)
        for worker_id, assignment in look.overdue:
            self.judge(workers[worker_id], assignment)
        for worker_id, assignment in look.unheard:
            self.judge(workers[worker_id], assignment, whatever_it_says=True)
        if look.next_at_ns is not None:
            self._arm(look.next_at_ns)

    def judge(self, worker: Worker, assignment: Assignment, *, whatever_it_says: bool = False) -> None:
        """Kill the worker if it runs this task at this moment, and have the verdict given; otherwise do nothing.

        ``whatever_it_says``: its page is not asked; it is enough that it has not answered.
        """
        before = worker.state
        worker.cell.condemn(layout.STOP)
        self._fence()
        self._collect(worker)
        if worker.state is not before:
            return  # its ring was unreadable, and it has been killed for that
        if worker.unread:  # it has answered, and there was no descriptor to take the answer: nobody is late
            worker.cell.condemn(layout.LEAVE if before is State.RETIRING else 0)
            self._arm(min(self._look_at_ns, time.monotonic_ns() + _RETRY_NS))
            return
        still_there = assignment.seq in self._dispatcher.outstanding(worker.id)
        if not still_there or not (whatever_it_says or worker.cell.running().is_for(assignment.seq)):
            worker.cell.condemn(layout.LEAVE if before is State.RETIRING else 0)
            return
        task = assignment.task
        self._log.warning(
            "task_killed",
            **task_fields(task.id, task.action, task.traceparent),
            timeout=assignment.timeout,
            cancelled=assignment.cancelled,
            worker=worker.slot,
            pid=worker.pid,
        )
        self._pool.kill(worker)
        self._on_timeout(worker, assignment)
