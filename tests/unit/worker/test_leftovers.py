"""What the code of an action makes on the loop ends with it; what others have made there stays."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvloop
from interruptions import StillTimer

from arbd.errors import TaskTimeout
from arbd.worker.aio import AsyncRunner
from arbd.worker.worker_loop import WorkerLoop

uvloop.new_event_loop().close()  # libuv keeps a pipe for signals, opened with a process's first loop


@pytest.fixture
def spoiled() -> list[str]:
    return []


@pytest.fixture
def runner(spoiled: list[str]) -> Iterator[AsyncRunner]:
    runner = AsyncRunner(StillTimer(), spoil=spoiled.append)
    loops = [runner.loop()]
    yield runner
    loops.append(runner.loop())
    for loop in loops:
        if not loop.is_closed():
            loop.close()


def soon() -> float:
    return time.monotonic() + 5


async def forever() -> None:
    await asyncio.Event().wait()


def test_tasks_are_cancelled(runner: AsyncRunner, spoiled: list[str]) -> None:
    made: list[asyncio.Task[None]] = []

    async def act() -> str:
        made.append(asyncio.create_task(forever()))
        await asyncio.sleep(0)
        return "done"

    assert runner(act(), soon()) == "done"
    assert made[0].cancelled()
    assert spoiled == []


def test_those_of_a_resource_stay(runner: AsyncRunner) -> None:
    made: list[asyncio.Task[None]] = []

    async def open_it() -> None:
        made.append(asyncio.create_task(forever()))

    async def act() -> int:
        return len(asyncio.all_tasks())

    runner.run_apart(open_it(), soon())
    assert runner(act(), soon()) == 2
    assert not made[0].done()
    made[0].cancel()
    runner(asyncio.sleep(0), soon())


def test_one_that_does_not_end_spoils_the_worker(runner: AsyncRunner, spoiled: list[str]) -> None:
    go_on = True

    async def stubborn() -> None:
        while go_on:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                pass

    async def act() -> None:
        kept.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)

    kept: list[Any] = []
    runner(act(), time.monotonic() + 0.05)
    assert len(spoiled) == 1
    assert "stubborn" in spoiled[0]
    go_on = False
    runner(asyncio.sleep(0.02), soon())


def test_generators_are_closed(runner: AsyncRunner) -> None:
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append("closed")

    kept: list[Any] = []

    async def act() -> int:
        kept.append(numbers())
        return int(await anext(kept[0]))

    assert runner(act(), soon()) == 1
    assert closed == ["closed"]


def test_timers_of_the_author_s_are_cancelled(runner: AsyncRunner) -> None:
    rang: list[int] = []

    async def act() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, lambda: rang.append(1))
        loop.call_later(0.01, functools.partial(lambda: rang.append(2)))

    runner(act(), soon())
    runner(asyncio.sleep(0.03), soon())
    assert rang == []


def test_a_closed_loop_is_made_anew(runner: AsyncRunner, spoiled: list[str]) -> None:
    async def act() -> None: ...

    runner(act(), soon())
    runner.loop().close()

    async def works() -> str:
        return "works"

    assert runner(works(), soon()) == "works"


def test_the_deadline_strikes_also_in_one_that_swallows_it(runner: AsyncRunner) -> None:
    async def swallows() -> str:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            pass
        return "swallowed"

    runner(swallows(), time.monotonic() + 0.01)
    assert runner._timer.struck == ["interrupted"]  # type: ignore[attr-defined] # the stand-in's
    with pytest.raises(TaskTimeout):
        runner(asyncio.sleep(5), time.monotonic() + 0.01)


def test_what_an_action_sets_on_the_loop_is_put_back(runner: AsyncRunner) -> None:
    def handler(*_: Any) -> None: ...

    async def act() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(handler)
        loop.set_task_factory(None)
        loop.set_debug(True)

    loop = runner.loop()
    ours, before = loop.get_exception_handler(), loop.get_task_factory()
    runner(act(), soon())
    assert (loop.get_exception_handler(), loop.get_task_factory(), loop.get_debug()) == (ours, before, False)


def test_what_a_resource_sets_is_kept(runner: AsyncRunner) -> None:
    def handler(*_: Any) -> None: ...

    async def open_it() -> None:
        asyncio.get_running_loop().set_exception_handler(handler)

    runner.run_apart(open_it(), soon())
    runner(asyncio.sleep(0), soon())
    assert runner.loop().get_exception_handler() is handler


def test_a_busy_executor_is_replaced() -> None:
    loop = WorkerLoop()
    try:
        first = loop._executor
        loop.restore()
        assert loop._executor is first
        first._running.add(object())  # type: ignore[attr-defined] # as if a job had not ended
        loop.restore()
        assert loop._executor is not first
    finally:
        loop.close()
