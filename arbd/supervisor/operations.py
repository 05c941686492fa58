"""Operations: commands of an operator that take longer than a moment, each begun at once and followed by its number.

    begin ─> running ─┬─> done      the coroutine returned; what it said last is how it ended
                      └─> failed    it raised ``OperationFailed``, or something that nobody expected, which is logged

The last ``KEPT`` are remembered, so that who asked can see how it ended. One of a kind can run at a time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final

from arbd.control.reports import Operation, OperationState
from arbd.logs import get_logger
from arbd.supervised import supervised

KEPT: Final = 64


class OperationFailed(Exception):
    """Why an operation could not be carried out, for people."""


class Progress:
    """How far one operation is; its coroutine says so."""

    def __init__(self, number: int, kind: str, text: str) -> None:
        self.id = number
        self.kind = kind
        self.text = text
        self.state: OperationState = "running"
        self.done = 0
        self.total = 0
        self.data: Any = None

    def say(self, text: str, done: int | None = None, total: int | None = None) -> None:
        """Say how far it is."""
        self.text = text
        self.done = self.done if done is None else done
        self.total = self.total if total is None else total

    def report(self) -> Operation:
        """It, as it is now."""
        return Operation(self.id, self.kind, self.state, self.text, self.done, self.total, self.data)


Work = Callable[[Progress], Awaitable[None]]


class Operations:
    """The operations of one daemon."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._known: dict[int, Progress] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_logger("arbd.operations")

    def running(self, kind: str) -> Operation | None:
        """The operation of this kind that runs now."""
        running = (each for each in self._known.values() if each.kind == kind and each.state == "running")
        return next((each.report() for each in running), None)

    def begin(self, kind: str, text: str, work: Work) -> Operation:
        """Begin ``work``; one of this kind that runs already is followed instead."""
        running = self.running(kind)
        if running is not None:
            return running
        progress = Progress(next(self._numbers), kind, text)
        self._known[progress.id] = progress
        while len(self._known) > KEPT:
            ended = next((each for each in self._known.values() if each.state != "running"), None)
            if ended is None:
                break
            del self._known[ended.id]
        task = supervised(self._run(progress, work), f"operation {kind}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return progress.report()

    def report(self, number: int) -> Operation | None:
        """How far an operation is; ``None``: it is not known, or not any more."""
        known = self._known.get(number)
        return None if known is None else known.report()

    async def close(self) -> None:
        """End those that run: the daemon ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, progress: Progress, work: Work) -> None:
        try:
            await work(progress)
            progress.state = "done"
        except OperationFailed as error:
            progress.state, progress.text = "failed", str(error)
        except asyncio.CancelledError:
            progress.state, progress.text = "failed", "the daemon ends"
            raise
        except Exception as error:  # it costs the operation, not the daemon
            self._log.exception("operation_failed", operation=progress.kind)
            progress.state, progress.text = "failed", f"{type(error).__name__}; see the daemon's log"
