"""A reload that an operator follows: done when the new code serves in every slot, failed with the reason if not.

It asks for what SIGHUP asks for. Asked again while it is followed, it ends when the load that was asked for last has.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from arbd.control.reports import Operation
from arbd.control.server import asked_by
from arbd.logs import get_logger
from arbd.logs.notable import note
from arbd.supervised import supervised
from arbd.supervisor.generations import Generations
from arbd.supervisor.operations import OperationFailed, Operations, Progress
from arbd.supervisor.pool import Pool
from arbd.supervisor.reload_outcome import ReloadOutcome
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
        self._log = get_logger("arbd.supervisor")
        self._asked: asyncio.Task[ReloadOutcome]
        self._before: object  # the zygote that was the newest when it was asked for

    def begin(self) -> Operation:
        """Reload. Raises ``OperationFailed`` where the daemon is about to end."""
        if self._pool.is_closed:
            raise OperationFailed("the daemon is about to end: it loads no code any more")
        note(self._log, "info", "reload_asked", **asked_by())
        self._before = self._pool.zygote
        self._asked = supervised(self._generations.reloaded(), "a reload that is followed")
        return self._operations.begin("reload", "code and settings are being loaded", self._follow)

    async def _follow(self, progress: Progress) -> None:
        while True:
            asked, before = self._asked, self._before
            while not asked.done():
                if self._pool.zygote is not before:  # it is loaded, and none of its workers has been ready yet
                    self._serves(progress)
                await self._pause(LOOK_S)
            outcome = asked.result()
            if outcome.failed:
                if asked is self._asked:
                    raise OperationFailed(outcome.failed)
                continue
            progress.data = _data(outcome)
            while asked is self._asked and not self._serves(progress):
                await self._pause(LOOK_S)
            if asked is self._asked:
                break
        total = self._pool.size
        progress.say(f"the new code serves in {count(total)}{_in_words(outcome)}", total, total)

    def _serves(self, progress: Progress) -> bool:
        """Look whether it serves in every slot. Raises ``OperationFailed`` where it will not."""
        pool = self._pool
        if pool.is_closed:
            raise OperationFailed("the daemon is about to end")
        total, missing = pool.size, pool.missing(pool.zygote)
        so_far = f"the new code serves in {total - len(missing)} of {count(total)}"
        progress.say(so_far, total - len(missing), total)
        troubles = [(slot, trouble) for slot in sorted(missing) if (trouble := pool.trouble_of(slot)) is not None]
        if missing and len(troubles) == len(missing):
            slot, trouble = troubles[0]
            raise OperationFailed(f"{so_far}; worker {slot} is out of service, and is tried again: {trouble.reason}")
        return not missing


def _data(outcome: ReloadOutcome) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(outcome)
    return {name: built[name] for name in ("actions", "applied", "needs_restart")}


def _in_words(outcome: ReloadOutcome) -> str:
    said = [f"{name} was {old}, is {new}" for name, (old, new) in outcome.applied.items()]
    said += [f"{name} stays {old} until a restart (now {new})" for name, (old, new) in outcome.needs_restart.items()]
    return "".join(f"\n  {each}" for each in said)
