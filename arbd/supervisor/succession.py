"""The replacement of workers that serve: the successor first, then the old one retires; one worker at a time.

    asked for ─> the first of the queue ─> a worker is wanted in its slot
                     ├─> that is ready ─> the old one retires ─> gone, or ``HOLD_S``: the next
                     └─> none can be had: the next; the old one serves on

One whose slot waits after a successor that failed is not replaced before that pause has ended (``go_on``).

The order is decided in ``arbd.core.recycling``; the pool starts and retires.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from arbd.core.history import Why
from arbd.core.lifecycle import State
from arbd.core.recycling import HOLD_S, ReplacementQueue, ReplacementRequest
from arbd.supervisor.worker import Worker


class Succession:
    """The replacements of one pool. ``want`` has a worker started in a slot, ``replace`` has one retire whose successor
    is there; ``pauses``: whether a slot waits after a failure."""

    def __init__(
        self,
        workers: Mapping[int, Worker],
        want: Callable[[int], None],
        replace: Callable[[Worker, Why], None],
        pauses: Callable[[int], bool] = lambda slot: False,
    ) -> None:
        self._workers = workers
        self._want = want
        self._replace = replace
        self._pauses = pauses
        self._queue = ReplacementQueue()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._loop = asyncio.get_running_loop()

    def is_superseded(self, worker: Worker) -> bool:
        """Whether a successor may start beside it."""
        return worker.id == self._queue.current

    def ask_to_replace(self, worker: Worker, reason: str, detail: str) -> None:
        """Have a worker replaced after those that were asked for before."""
        self._queue.add(ReplacementRequest(worker.id, reason, detail))
        self._begin()

    def is_to_be_replaced(self, worker: Worker) -> bool:
        """Whether it is being replaced, or is to be."""
        return self._queue.has(worker.id)

    def go_on(self) -> None:
        """A slot waits no more: perhaps the worker that serves there is the next."""
        self._begin()

    def _begin(self) -> None:
        serving = [worker for worker in self._workers.values() if worker.state is State.SERVING]
        present, held = [worker.id for worker in serving], {each.id for each in serving if self._pauses(each.slot)}
        if self._is_closed or (request := self._queue.begin(time.monotonic_ns(), present, held)) is None:
            return
        worker = self._workers[request.worker_id]
        worker.replacement_reason = Why(request.reason, request.detail)
        self._want(worker.slot)

    def ready(self, successor: Worker) -> None:
        """A worker is ready; perhaps it is the one that was waited for."""
        current = self._current_in(successor.slot)
        if current is None or current is successor:
            return
        self._queue.succeeded(current.id, time.monotonic_ns())
        self._stop_timer()
        self._timer = self._loop.call_later(HOLD_S, self._begin)
        if current.state is State.SERVING and current.replacement_reason is not None:
            self._replace(current, current.replacement_reason)

    def cannot_have(self, slot: int) -> None:
        """No successor can be had in this slot, for now: the next worker is replaced."""
        current = self._current_in(slot)
        if current is not None:
            self._queue.ended(current.id)
            self._begin()

    def gone(self, worker: Worker) -> None:
        """A worker is gone."""
        self._queue.ended(worker.id)
        self._begin()

    def close(self) -> None:
        """Begin no replacement any more."""
        self._is_closed = True
        self._stop_timer()

    def _current_in(self, slot: int) -> Worker | None:
        current = self._workers.get(self._queue.current or 0)
        return current if current is not None and current.slot == slot else None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
