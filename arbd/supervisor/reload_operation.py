"""A reload that an operator follows: done when the new code serves in every slot, failed with the reason if not.

It asks for what SIGHUP asks for. Asked again while it is followed, it ends when the load that was asked for last has.
"""

from __future__ import annotations

import asyncio

from arbd.control.reports import Operation
from arbd.supervisor.generations import Generations
from arbd.supervisor.operations import OperationFailed, Operations, Progress
from arbd.supervisor.pool import Pool
from arbd.supervisor.reload_outcome import Asked
from arbd.supervisor.scaling import LOOK_S, Pause, count


class ReloadOperation:
    """The reloads of one daemon. ``pause``: what an operation waits with between two looks."""

    def __init__(
        self, generations: Generations, pool: Pool, operations: Operations, pause: Pause = asyncio.sleep
    ) -> None:
        self._generations = generations
        self._pool = pool
        self._operations = operations
        self._pause = pause
        self._asked: Asked

    def begin(self) -> Operation:
        """Reload. Raises ``OperationFailed`` where the daemon is about to end."""
        if self._pool.is_closed:
            raise OperationFailed("the daemon is about to end: it loads no code any more")
        self._asked = self._generations.reload()
        return self._operations.begin("reload", "the code is being loaded", self._follow)

    async def _follow(self, progress: Progress) -> None:
        while True:
            asked = self._asked
            while not asked.done():
                self._look(progress)
                await self._pause(LOOK_S)
            if asked is self._asked:
                break
        reason = asked.result().reason
        if reason:
            raise OperationFailed(reason)
        total = self._pool.size
        progress.say(f"the new code serves in {count(total)}", total, total)

    def _look(self, progress: Progress) -> None:
        if not self._generations.is_moving:
            return
        self._generations.look_whether_all_serve()
        total, missing = self._pool.size, self._pool.missing(self._pool.zygote)
        progress.say(f"the new code serves in {total - len(missing)} of {count(total)}", total - len(missing), total)
        troubles = [(slot, trouble) for slot in sorted(missing) if (trouble := self._pool.trouble_of(slot)) is not None]
        if missing and len(troubles) == len(missing):
            slot, trouble = troubles[0]
            raise OperationFailed(
                f"the new code serves in {total - len(missing)} of {count(total)}; worker {slot} is out of service, "
                f"and is tried again: {trouble.reason}"
            )
