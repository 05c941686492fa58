"""Waits in bounded time: for tasks and channels of a link to end, and for an outbox to be empty.

Not when: that is each link's own business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable
from typing import Any, Final

import grpc.aio
import structlog

from arbd.core.outbox import Outbox
from arbd.supervised import supervised

END_TIMEOUT_S: Final = 2.0
"""How long one thing may take to be closed. What takes longer is left to the end of the process."""

_LOOK_S: Final = 0.2  # another link may empty the same outbox, and tells only its own


async def close_channel(channel: grpc.aio.Channel) -> None:
    """Close a channel and cancel its calls. Returns in bounded time, and never raises."""
    await wait_ended([supervised(_close(channel), "closing a channel")])


async def _close(channel: grpc.aio.Channel) -> None:
    await channel.close(None)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait for their ends. Returns in bounded time, and never raises: what a supervised task ends by
    is reported elsewhere."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await wait_ended(tasks)


async def wait_ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait for the ends of tasks, at most ``END_TIMEOUT_S``; whoever takes longer is cancelled, and left behind."""
    tasks = list(tasks)
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=END_TIMEOUT_S)
    for task in late:
        task.cancel()
        structlog.get_logger("arbd.hub").warning("does_not_end", what=task.get_name(), waited_s=END_TIMEOUT_S)


async def run_all(coroutines: Iterable[Coroutine[Any, Any, Any]], name: str) -> None:
    """Run coroutines side by side until all have ended. What one raises is reported, and keeps no other from its end;
    whoever cancels this cancels all of them."""
    tasks = [supervised(coroutine, name) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()


async def until_empty(outbox: Outbox, news: asyncio.Event, timeout: float) -> bool:
    """Wait until an outbox is empty, at most ``timeout`` seconds; whether it is. ``news`` is set when it may be."""
    until = time.monotonic() + timeout
    while len(outbox):
        left_s = until - time.monotonic()
        if left_s <= 0:
            return False
        news.clear()
        try:
            async with asyncio.timeout(min(left_s, _LOOK_S)):
                await news.wait()
        except TimeoutError:
            pass
    return True
