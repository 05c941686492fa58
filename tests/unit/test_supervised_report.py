"""What was caught so that others go on reaches the loop's exception handler; and a coroutine can tell whether it was
itself that somebody cancelled."""

from __future__ import annotations

import asyncio

from arbd.supervised import install, is_being_cancelled, report


def test_what_was_caught_is_acted_upon_like_what_was_not() -> None:
    async def scenario() -> None:
        seen: list[BaseException] = []
        install(asyncio.get_running_loop(), seen.append)
        error = ValueError("nobody expected it")
        report(error, "a test")
        assert seen == [error]

    asyncio.run(scenario())


def test_a_cancel_of_what_is_waited_for_is_none_of_the_task() -> None:
    async def scenario() -> None:
        asked: list[bool] = []

        async def wait(future: asyncio.Future[None]) -> None:
            try:
                await future
            except asyncio.CancelledError:
                asked.append(is_being_cancelled())

        loop = asyncio.get_running_loop()
        for cancel_task in (True, False):
            future = loop.create_future()
            task = loop.create_task(wait(future))
            await asyncio.sleep(0)
            (task if cancel_task else future).cancel()
            await asyncio.wait([task])
        assert asked == [True, False]

    asyncio.run(scenario())
