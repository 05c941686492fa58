"""Actions that leave something on the event loop past its factory or past its context, and helper threads that one
action starts and all of them use."""

import _thread
import asyncio
import collections
import contextvars
import multiprocessing.pool
import os
import queue
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from arbd import Provider

provider = Provider("past_the_loop", execution_timeout=5)
CALLS: collections.Counter[str] = collections.Counter()
KEPT: list[Any] = []
WAYS: dict[str, Callable[[], Awaitable[Any]]] = {}


def way(function: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    WAYS[function.__name__] = function
    return function


async def ticks() -> None:
    while True:
        CALLS["ticks"] += 1
        await asyncio.sleep(0.003)


class OwnTask(asyncio.Task):  # type: ignore[type-arg] # as authors write it
    """A task of the author's class."""


class Counting(asyncio.Protocol):
    """A protocol that counts what it is told."""

    def data_received(self, data: bytes) -> None:
        CALLS["data"] += 1

    def resume_writing(self) -> None:
        CALLS["resumed"] += 1


class Derived(Counting):
    """One whose methods are its base's."""


class WithSlots(asyncio.Protocol):
    """One without a dictionary."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        CALLS["slots"] += 1


def later(function: Callable[[], object]) -> None:
    """Call something during the next action, in a thread."""
    threading.Thread(target=in_a_moment, args=(function,), daemon=True).start()


def in_a_moment(function: Callable[[], object]) -> None:
    time.sleep(0.03)
    function()


@way
async def task_by_class() -> None:
    KEPT.append(asyncio.Task(ticks(), loop=asyncio.get_running_loop()))


@way
async def task_in_python() -> None:
    KEPT.append(asyncio.tasks._PyTask(ticks(), loop=asyncio.get_running_loop()))  # type: ignore[attr-defined] # private


@way
async def task_of_own_class() -> None:
    KEPT.append(OwnTask(ticks()))


@way
async def own_factory() -> None:
    asyncio.get_running_loop().set_task_factory(lambda loop, coroutine, **how: OwnTask(coroutine, loop=loop, **how))
    KEPT.append(asyncio.create_task(ticks()))


@way
async def task_of_a_task_in_an_empty_context() -> None:
    async def outer() -> None:
        KEPT.append(asyncio.create_task(ticks()))

    await asyncio.create_task(outer(), context=contextvars.Context())


@way
async def chain_in_an_empty_context() -> None:
    loop, context = asyncio.get_running_loop(), contextvars.Context()

    def again() -> None:
        CALLS["again"] += 1
        loop.call_soon(again, context=context)

    loop.call_soon(again, context=context)


@way
async def timers_in_an_empty_context() -> None:
    loop = asyncio.get_running_loop()

    def again() -> None:
        CALLS["again"] += 1
        loop.call_later(0.001, again)

    loop.call_later(0, again, context=contextvars.Context())
    await asyncio.sleep(0.01)


@way
async def raw_thread() -> None:
    loop = asyncio.get_running_loop()

    def post() -> None:
        for _ in range(50):
            loop.call_soon_threadsafe(CALLS.update, ["posted"])
            time.sleep(0.003)

    _thread.start_new_thread(post, ())


@way
async def raw_thread_with_a_coroutine() -> None:
    loop = asyncio.get_running_loop()
    _thread.start_new_thread(in_a_moment, (lambda: asyncio.run_coroutine_threadsafe(ticks(), loop),))


@way
async def job_of_a_pool() -> None:
    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(1)
    pool.submit(in_a_moment, lambda: loop.call_soon_threadsafe(CALLS.update, ["posted"]))
    KEPT.append(pool)


@way
async def accepted_socket() -> None:
    ours, theirs = socket.socketpair()
    KEPT.append((await asyncio.get_running_loop().connect_accepted_socket(Derived, theirs), ours))
    later(lambda: ours.send(b"x"))


@way
async def write_pipe() -> None:
    reads, writes = os.pipe()
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(Counting, os.fdopen(writes, "wb"))
    transport.write(b"x" * 300_000)
    later(lambda: [os.read(reads, 65536) for _ in range(4)])


@way
async def server_with_slots() -> None:
    server = await asyncio.get_running_loop().create_server(WithSlots, "127.0.0.1", 0)
    client = socket.create_connection(server.sockets[0].getsockname())
    await asyncio.sleep(0.01)
    later(lambda: client.send(b"x"))


@provider.actions.register(name="leave")
async def leave(payload: Any) -> int:
    await WAYS[payload["how"]]()
    return os.getpid()


@provider.actions.register(name="look")
async def look() -> dict[str, Any]:
    CALLS.clear()
    mine = asyncio.current_task()
    others = [str(task.get_coro()) for task in asyncio.all_tasks() if task is not mine]
    await asyncio.sleep(0.1)
    return {"pid": os.getpid(), "calls": dict(CALLS), "tasks": others}


# -- helpers -----------------------------------------------------------------------------------------------------------

HELPERS: dict[str, Any] = {}
PENDING: dict[int, Any] = {}


def helper(name: str, serve: Callable[[Any], object]) -> Any:
    """The queue of a thread, which the first action that needs it starts."""
    if name not in HELPERS:
        HELPERS[name] = asked = queue.Queue[Any]()

        def run() -> None:
            while True:
                serve(asked.get())

        threading.Thread(target=run, daemon=True).start()
    return HELPERS[name]


def answer_pending(number: int) -> None:
    PENDING.pop(number).set_result(2 * number)


async def by_future(number: int) -> Any:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    helper("future", lambda asked: asked[0].call_soon_threadsafe(asked[1].set_result, 2 * asked[2])).put(
        (loop, future, number)
    )
    return await future


async def by_own_function(number: int) -> Any:
    """The function finds the future where the module keeps it."""
    loop = asyncio.get_running_loop()
    PENDING[number] = future = loop.create_future()
    helper("function", lambda asked: asked[0].call_soon_threadsafe(answer_pending, asked[1])).put((loop, number))
    await asyncio.sleep(0.01)
    return await future


async def by_coroutine(number: int) -> Any:
    event = asyncio.Event()

    def serve(asked: Any) -> None:
        async def set_it() -> None:
            asked[1].set()

        asyncio.run_coroutine_threadsafe(set_it(), asked[0])

    helper("coroutine", serve).put((asyncio.get_running_loop(), event))
    await event.wait()
    return 2 * number


async def by_pool(number: int) -> Any:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    pool = HELPERS.setdefault("pool", None) or multiprocessing.pool.ThreadPool(1)
    HELPERS["pool"] = pool
    pool.apply_async(
        lambda: 2 * number, callback=lambda found: loop.call_soon_threadsafe(lambda: future.set_result(found))
    )
    return await future


@provider.actions.register(name="ask")
async def ask(payload: Any) -> dict[str, Any]:
    ways = {each.__name__: each for each in (by_future, by_own_function, by_coroutine, by_pool)}
    return {"pid": os.getpid(), "answer": await ways[payload["how"]](payload["number"])}


@provider.actions.register(name="start_helper")
def start_helper() -> int:
    """An action that is not asynchronous starts what the others use."""
    helper("future", lambda asked: asked[0].call_soon_threadsafe(asked[1].set_result, 2 * asked[2]))
    return os.getpid()
