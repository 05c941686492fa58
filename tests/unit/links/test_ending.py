"""What may not end by itself is waited for in bounded time; a raise in one place keeps nothing else from its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from arbd.core.outbox import MemoryOutbox
from arbd.links import ending
from arbd.links.ending import end, run_all, until_empty, wait_ended
from arbd.model.task import Outcome, Task
from arbd.supervised import install, supervised


class Boom(Exception):
    """Something that nobody expected."""


def seen_by_the_loop() -> list[BaseException]:
    seen: list[BaseException] = []
    install(asyncio.get_running_loop(), seen.append)
    return seen


async def never() -> None:
    await asyncio.Event().wait()


async def deaf() -> None:
    """It takes a cancel for nothing, once."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()


async def boom() -> None:
    raise Boom


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "END_TIMEOUT_S", 0.01)
    monkeypatch.setattr(ending, "_LOOK_S", 0.01)


@pytest.mark.usefixtures("soon")
def test_a_task_that_does_not_end_is_left_behind() -> None:
    async def scenario() -> None:
        tasks = [supervised(deaf(), "deaf"), supervised(never(), "quiet")]
        await asyncio.sleep(0)
        await end(tasks)
        assert not tasks[0].done()
        assert tasks[1].cancelled()
        late = supervised(never(), "late")
        await wait_ended([late])
        await asyncio.gather(late, *tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_nothing_to_end_is_nothing_to_wait_for() -> None:
    asyncio.run(end([]))


def test_one_that_raises_is_reported_and_keeps_no_other_from_its_end() -> None:
    async def scenario() -> None:
        seen, ended = seen_by_the_loop(), []

        async def other() -> None:
            await asyncio.sleep(0)
            ended.append(True)

        await run_all((boom(), other()), "both")
        assert [type(error) for error in seen] == [Boom]
        assert ended == [True]

    asyncio.run(scenario())


def test_whoever_is_not_waited_for_any_more_is_cancelled() -> None:
    async def scenario() -> None:
        seen, cancelled = seen_by_the_loop(), []

        async def noted() -> None:
            try:
                await never()
            finally:
                cancelled.append(True)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await run_all((noted(), noted()), "both")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (cancelled, seen) == ([True, True], [])

    asyncio.run(scenario())


@pytest.mark.usefixtures("soon")
def test_an_outbox_that_somebody_else_empties_is_seen_to_be_empty() -> None:
    async def scenario() -> None:
        outbox = MemoryOutbox()
        outbox.append(Outcome(Task("1", "a"), "success", b"{}"))
        taken: Any = outbox.take()
        asyncio.get_running_loop().call_later(0.02, outbox.ack, taken, 0.0)
        assert await until_empty(outbox, asyncio.Event(), 5.0)  # nobody sets the event

    asyncio.run(scenario())


@pytest.mark.usefixtures("soon")
def test_an_outbox_that_does_not_empty_is_waited_for_so_long_only() -> None:
    async def scenario() -> None:
        outbox = MemoryOutbox()
        outbox.append(Outcome(Task("1", "a"), "success", b"{}"))
        assert not await until_empty(outbox, asyncio.Event(), 0.03)

    asyncio.run(scenario())
