"""Whose turn it is to be replaced though it serves: the successor first, then it retires; one worker at a time.

    wish ─> its turn ─> a worker is wanted in its slot ─┬─> that is ready ─> it retires ─> gone, or ``HOLD_S``: the next
                                                        └─> none can be had: the next; it serves on

One whose slot waits after a successor that failed has no turn before that pause has ended (``go_on``).

The order is decided in ``arbd.core.recycling``; the pool starts and retires.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from arbd.core.history import Why
from arbd.core.lifecycle import State
from arbd.core.recycling import HOLD_S, Turns, Wish
from arbd.supervisor.worker import Worker


class Succession:
    """The turns of all workers. ``want`` has a worker started in a slot, ``replace`` has one retire whose successor is
    there; ``pauses``: whether a slot waits after a failure."""

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
        self._turns = Turns()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._loop = asyncio.get_running_loop()

    def is_superseded(self, worker: Worker) -> bool:
        """Whether a successor may start beside it."""
        return worker.id == self._turns.current

    def wish(self, worker: Worker, reason: str, detail: str) -> None:
        """Have a worker replaced when its turn comes."""
        self._turns.wish(Wish(worker.id, reason, detail))
        self._begin()

    def is_wished(self, worker: Worker) -> bool:
        """Whether its turn goes on, or is to come."""
        return self._turns.has(worker.id)

    def go_on(self) -> None:
        """A slot waits no more: perhaps the worker that serves there has its turn."""
        self._begin()

    def _begin(self) -> None:
        serving = [worker for worker in self._workers.values() if worker.state is State.SERVING]
        present, held = [worker.id for worker in serving], {each.id for each in serving if self._pauses(each.slot)}
        if self._is_closed or (wish := self._turns.begin(time.monotonic_ns(), present, held)) is None:
            return
        worker = self._workers[wish.worker_id]
        worker.wish = Why(wish.reason, wish.detail)
        self._want(worker.slot)

    def ready(self, successor: Worker) -> None:
        """A worker is ready; perhaps it is the one that was waited for."""
        current = self._current_in(successor.slot)
        if current is None or current is successor:
            return
        self._turns.succeeded(current.id, time.monotonic_ns())
        self._stop_timer()
        self._timer = self._loop.call_later(HOLD_S, self._begin)
        if current.state is State.SERVING and current.wish is not None:
            self._replace(current, current.wish)

    def cannot_have(self, slot: int) -> None:
        """No successor can be had in this slot, for now: others have their turns."""
        current = self._current_in(slot)
        if current is not None:
            self._turns.ended(current.id)
            self._begin()

    def gone(self, worker: Worker) -> None:
        """A worker is gone."""
        self._turns.ended(worker.id)
        self._begin()

    def close(self) -> None:
        """Begin no turn any more."""
        self._is_closed = True
        self._stop_timer()

    def _current_in(self, slot: int) -> Worker | None:
        current = self._workers.get(self._turns.current or 0)
        return current if current is not None and current.slot == slot else None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
