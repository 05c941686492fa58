"""Execution of ``async def`` handlers: one event loop per worker, made when the first of them runs.

A task runs to its end before the next begins; what an action leaves running in the loop goes on with the next one. At
its deadline, or when the hub cancels the task, the action's coroutine is cancelled. The worker's timer is off
meanwhile: raised inside the event loop's own code it would break the loop for every later task. A coroutine that never
yields is left to the kill.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

import uvloop

from arbd.errors import TaskCancelled, TaskTimeout
from arbd.interrupts import uninterruptible
from arbd.worker.soft_timer import SoftTimer


class AsyncRunner:
    """The event loop of a worker; runs one awaitable at a time."""

    def __init__(self, timer: SoftTimer) -> None:
        self._timer = timer
        self._loop: asyncio.AbstractEventLoop | None = None

    @uninterruptible  # a task that was made and not run would run with the next one
    def __call__(self, awaitable: Awaitable[Any], deadline: float) -> Any:
        """Run an awaitable to its end, and return its result. Raises ``TaskTimeout`` at ``deadline`` (seconds of
        ``time.monotonic()``), and ``TaskCancelled``."""
        return self._run(awaitable, deadline)

    @uninterruptible
    def run_apart(self, awaitable: Awaitable[Any], deadline: float) -> Any:
        """Run a hook's or a resource's awaitable in the same way: what it leaves running in the loop stays there, and
        the timer, if it is armed, raises again afterwards."""
        armed = self._timer.is_armed
        try:
            return self._run(awaitable, deadline)
        finally:
            if armed:
                self._timer.take_back(deadline)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, if one has been made."""
        return self._loop

    def _run(self, awaitable: Awaitable[Any], deadline: float) -> Any:
        if self._loop is None:
            self._loop = uvloop.new_event_loop()
            asyncio.set_event_loop(self._loop)
        task = self._loop.create_task(_until(awaitable, deadline))
        self._timer.hand_over(task.cancel)
        try:
            return self._loop.run_until_complete(task)
        except asyncio.CancelledError:
            if self._timer.is_cancelled:
                raise TaskCancelled from None
            raise


async def _until(awaitable: Awaitable[Any], deadline: float) -> Any:
    remaining = deadline - time.monotonic()
    try:
        async with asyncio.timeout(remaining) as bound:
            return await awaitable
    except TimeoutError:
        if bound.expired():
            raise TaskTimeout from None
        raise
