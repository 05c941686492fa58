"""The daemon's account of itself in its own log, for an operator who can send a signal and no command: SIGUSR1.

    status    one line        stacks    one line per process

Warnings, because they were asked for by hand: they are to be there at any level that one usually writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from arbd.control.reports import StatusReport
from arbd.logs import get_logger
from arbd.supervised import supervised
from arbd.supervisor.stacks import Stacks

_MOST_TEXT: Final = 16 * 1024  # characters of a stack in a line


class SelfReport:
    """Writes status and stacks to the log. Asked for again while it writes, it does so once."""

    def __init__(self, stacks: Stacks, status: Callable[[], StatusReport] | None = None) -> None:
        self._stacks = stacks
        self._status = status
        self._writing: asyncio.Task[None] | None = None
        self._log = get_logger("arbd.supervisor")

    def begin(self) -> None:
        """Write both, soon."""
        if self._writing is None or self._writing.done():
            self._writing = supervised(self.write(), "the report on SIGUSR1")

    async def write(self) -> None:
        """Write both."""
        if self._status is None:
            self._log.warning("status", state="starting")
        else:
            self._log.warning("status", **msgspec.to_builtins(self._status()))
        for each in await self._stacks.take():
            task = each.task
            self._log.warning(
                "stacks",
                process=each.role,
                pid=each.pid,
                worker=each.worker,
                task_id=task.id if task else None,
                action=task.action if task else None,
                trouble=each.trouble,
                stack=each.text[-_MOST_TEXT:],
            )
