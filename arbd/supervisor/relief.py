"""Nobody waits behind a task that takes longer than expected.

How long an action takes is learned, so a task that was believed to be short may run for seconds, and others wait in its
worker's ring meanwhile. A ring cannot be taken back; but the worker can be told to skip what it has not begun::

    a worker runs one task for longer than ``dispatch.RING_NS``, and others wait there
      ─> mark its ring: skip what lies before this place ─> fence ─> what does it run? ─> collect its results
      ─> all it has but that one task go back to the front of the line, and to whoever is free first

The order makes it exact, as for a kill (``arbd.supervisor.watch``). The task announced last before the fence is left
with the worker, and those before it have their results in the ring. A task announced after the fence sees the mark and
is skipped. The one left may have seen it just as well; but the worker says of every task it skips that it did, and that
one goes back in line then. So each task is begun once.

One timer, and only while something waits behind another; a look costs one reading of each such worker's page. It comes
early where the supervisor is awake anyway: under load one wake-up serves this, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from arbd.core import dispatch
from arbd.core.dispatch import Dispatcher
from arbd.core.lifecycle import State
from arbd.host.fence import make_fence
from arbd.model.response import cancelled
from arbd.supervisor.pool import Pool
from arbd.supervisor.verdicts import Verdicts
from arbd.supervisor.worker import Worker

_LOOK_S: Final = 0.02
_EARLY_S: Final = _LOOK_S / 2


class Relief:
    """See the module. ``collect`` takes all of a worker's results; ``pump`` sends what can be sent."""

    def __init__(self, dispatcher: Dispatcher, pool: Pool, verdicts: Verdicts) -> None:
        self._dispatcher = dispatcher
        self._pool = pool
        self._verdicts = verdicts
        self._fence = make_fence()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0  # seconds of the monotonic clock
        self._collect: Callable[[Worker], None]
        self._pump: Callable[[], None]

    def start(self, collect: Callable[[Worker], None], pump: Callable[[], None]) -> None:
        """Tell it whom to ask and whom to tell."""
        self._collect = collect
        self._pump = pump

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def on_dispatch(self, worker_ids: Iterable[int]) -> None:
        """These workers were given something."""
        if self._timer is None and any(len(self._dispatcher.outstanding(each)) > 1 for each in worker_ids):
            self._look_later()

    def on_awake(self) -> None:
        """The supervisor has just woken up for something else."""
        if self._timer is not None and time.monotonic() > self._due_at - _EARLY_S:
            self._timer.cancel()
            self._look()

    def _look_later(self) -> None:
        self._due_at = time.monotonic() + _LOOK_S
        self._timer = self._loop.call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        for worker in self._crowded():
            if self._is_slow(worker):
                self._collect(worker)  # it may have ended long ago, and nobody has looked since
        crowded = self._crowded()
        slow = [worker for worker in crowded if self._is_slow(worker)]
        for worker in slow:
            self.relieve(worker)
        if slow:
            self._pump()
        if self._timer is None and len(crowded) > len(slow):  # what was pumped may have set it
            self._look_later()

    def _crowded(self) -> list[Worker]:
        """Workers with more than the one task they may be running, unless they are about to die."""
        busy = [self._pool.workers[each] for each in self._dispatcher.busy_workers()]
        return [
            worker
            for worker in busy
            if worker.state in (State.SERVING, State.RETIRING) and len(self._dispatcher.outstanding(worker.id)) > 1
        ]

    def _is_slow(self, worker: Worker) -> bool:
        running = worker.cell.running()
        began = running.since_ns and running.seq in self._dispatcher.outstanding(worker.id)
        return bool(began) and time.monotonic_ns() - running.since_ns > dispatch.RING_NS

    def relieve(self, worker: Worker) -> None:
        """Take back everything that this worker has not begun."""
        before = worker.state
        worker.cell.take_back()
        self._fence()
        running = worker.cell.running()
        self._collect(worker)
        if worker.state is before:  # its ring was readable
            ran_ns = time.monotonic_ns() - running.since_ns if running.since_ns else 0
            for assignment in self._dispatcher.take_back(worker.id, running.seq, ran_ns):
                self._verdicts.give(assignment.task, cancelled(assignment.task.action))
