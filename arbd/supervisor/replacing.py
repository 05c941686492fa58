"""Replaces workers that serve because an operator asks for it: each by a new one of the same code, one at a time.

    begin ─> every worker that is meant is replaced, one at a time (``succession``): a successor, then it retires
          ─> gone: the next ─> all gone: done
          └─ no successor can be had: it serves on, and the operation ends as failed, with the reason

No task is lost, and as many workers serve as before: the successor is ready before the old one stops taking tasks.
"""

from __future__ import annotations

import asyncio
from functools import partial

from arbd.control.reports import Operation
from arbd.control.server import asked_by
from arbd.core.lifecycle import State
from arbd.logs import get_logger
from arbd.logs.notable import note
from arbd.supervisor.operations import OperationFailed, Operations, Progress
from arbd.supervisor.pool import Pool
from arbd.supervisor.scaling import LOOK_S, Pause, count
from arbd.supervisor.worker import Worker


class Replacing:
    """The replacements that operators ask for. ``pause``: what an operation waits with between two looks."""

    def __init__(self, pool: Pool, operations: Operations, pause: Pause = asyncio.sleep) -> None:
        self._pool = pool
        self._operations = operations
        self._pause = pause
        self._log = get_logger("arbd.replacing")

    def begin(self, slot: int | None = None) -> Operation:
        """Replace the worker of a slot, or all; where that is being done, it is followed, and nobody is replaced twice.
        Raises ``OperationFailed`` where there is none."""
        if self._pool.is_closed:
            raise OperationFailed("the daemon is about to end: it starts no workers any more")
        kind = "replace" if slot is None else f"replace {slot}"
        if (running := self._operations.running(kind)) is not None:
            return running
        old = self._meant(slot)
        note(self._log, "info", "replacing", workers=[worker.slot for worker in old], **asked_by())
        for worker in old:
            self._pool.ask_to_replace(worker, "command", "an operator asked for it")
        return self._operations.begin(kind, f"{count(len(old))} to replace", partial(self._follow, old))

    def _meant(self, slot: int | None) -> list[Worker]:
        serving = [worker for worker in self._pool.workers.values() if worker.state is State.SERVING]
        serving = sorted((worker for worker in serving if worker.slot < self._pool.size), key=lambda each: each.slot)
        if slot is None:
            if not serving:
                raise OperationFailed("no worker serves, so there is none to replace; see arbd status")
            return serving
        if not 0 <= slot < self._pool.size:
            raise OperationFailed(f"there is no worker {slot}; workers are 0 to {self._pool.size - 1}")
        found = [worker for worker in serving if worker.slot == slot]
        if not found:
            raise OperationFailed(self._why_none(slot))
        return found

    def _why_none(self, slot: int) -> str:
        trouble = self._pool.out_of_service().get(slot)
        if trouble is None:
            return f"worker {slot} is just being started or ended; try again when it serves (arbd status)"
        return f"worker {slot} is out of service, and is tried again by itself: {trouble.reason}"

    async def _follow(self, old: list[Worker], progress: Progress) -> None:
        left, kept = list(old), list[Worker]()
        while left:
            if self._pool.is_closed:
                raise OperationFailed("the daemon is about to end")
            left = [worker for worker in left if worker.id in self._pool.workers]
            kept += [
                worker for worker in left if worker.state is State.SERVING and not self._pool.is_to_be_replaced(worker)
            ]
            left = [worker for worker in left if worker not in kept]
            done = len(old) - len(left) - len(kept)
            progress.say(self._in_words(left, done, len(old)), done, len(old))
            await self._pause(LOOK_S)
        if kept:
            raise OperationFailed(self._why_kept(kept, len(old)))
        progress.say(f"{count(len(old))} replaced", len(old), len(old))

    def _in_words(self, left: list[Worker], done: int, total: int) -> str:
        ending = [worker.slot for worker in left if worker.state is not State.SERVING]
        waits = f"; worker {ending[0]} ends when its tasks have" if ending else ""
        return f"{done} of {total} replaced{waits}"

    def _why_kept(self, kept: list[Worker], total: int) -> str:
        slots = ", ".join(str(worker.slot) for worker in kept)
        trouble = self._pool.trouble_of(kept[0].slot)
        reason = f": {trouble.reason}" if trouble is not None else "; see the daemon's log"
        return f"{total - len(kept)} of {total} replaced; no new worker can be started for {slots}{reason}"
