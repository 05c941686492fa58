"""Actions that leave calls on the event loop, and a resource whose task does."""

import asyncio
import collections
import os
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from arbd import Provider

provider = Provider("on_loop")
CALLS: collections.Counter[str] = collections.Counter()


@provider.resource
async def refresher() -> AsyncIterator[Any]:
    async def refresh() -> None:
        while True:
            await asyncio.to_thread(time.sleep, 0.05)
            CALLS["refreshed"] += 1

    task = asyncio.create_task(refresh())
    yield task
    task.cancel()


async def ticks() -> None:
    while True:
        CALLS["ticks"] += 1
        await asyncio.sleep(0.005)


@provider.actions.register(name="leave")
async def leave(payload: Any) -> int:
    loop = asyncio.get_running_loop()
    how = payload["how"]

    def again() -> None:
        CALLS["again"] += 1
        loop.call_soon(again)

    if how == "reader":
        reading, writing = os.pipe()
        os.write(writing, b"x")
        loop.add_reader(reading, CALLS.update, ["read"])
    elif how == "chain":
        again()
    elif how == "timer":
        loop.call_later(0.02, CALLS.update, ["rang"])
    elif how == "thread":
        thread = threading.Thread(target=lambda: asyncio.run_coroutine_threadsafe(ticks(), loop))
        thread.start()
        await asyncio.sleep(0.02)
    CALLS.clear()
    return os.getpid()


@provider.actions.register(name="look")
async def look(payload: Any, refresher: Any) -> dict[str, Any]:
    CALLS.clear()
    await asyncio.sleep(0.1)
    calls = dict(CALLS)
    return {"pid": os.getpid(), "refreshed": calls.pop("refreshed", 0), "calls": calls, "ended": refresher.done()}
