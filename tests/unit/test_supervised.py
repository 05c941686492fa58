"""What nobody expected on an event loop reaches one place, at once, whatever raised it; what was asked for does not."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from arbd import logs
from arbd.supervised import install, is_being_cancelled, report, supervised


class Loop:
    """A loop with the handler installed: what it was told, and what was logged. (uvloop would keep a pipe for ever.)"""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self.log = io.StringIO()

    def run(self, test: Callable[[], Awaitable[Any]]) -> None:
        async def main() -> None:
            install(asyncio.get_running_loop(), self.failures.append)
            await test()
            await asyncio.sleep(0.001)

        asyncio.run(main())

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@pytest.fixture
def loop() -> Loop:
    made = Loop()
    logs.configure(format="json", stream=made.log)
    return made


def boom() -> None:
    raise RuntimeError("injected")


async def boom_later() -> None:
    await asyncio.sleep(0)
    boom()


async def in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(boom)
    await asyncio.sleep(0)


async def in_a_timer() -> None:
    asyncio.get_running_loop().call_later(0, boom)
    await asyncio.sleep(0.005)


async def in_a_task() -> None:
    supervised(boom_later(), "its name")
    await asyncio.sleep(0.005)


async def in_a_task_that_is_awaited() -> None:
    await asyncio.gather(supervised(boom_later(), "its name"), return_exceptions=True)


@pytest.mark.parametrize("place", [in_a_callback, in_a_timer, in_a_task, in_a_task_that_is_awaited])
def test_an_exception_is_logged_with_its_traceback_and_told_once(
    loop: Loop, place: Callable[[], Awaitable[Any]]
) -> None:
    loop.run(place)
    assert [str(error) for error in loop.failures] == ["injected"]
    [line] = loop.events
    assert (line["level"], line["event"], line["error"]) == ("critical", "unexpected_failure", "RuntimeError: injected")
    assert "in boom" in line["exception"]


def test_the_log_names_the_task(loop: Loop) -> None:
    loop.run(in_a_task)
    assert "its name" in loop.events[0]["where"]


def test_a_task_that_ends_as_cancelled_by_nobody_is_unexpected(loop: Loop) -> None:
    async def test() -> None:
        waited_for: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def waits() -> None:
            await waited_for

        supervised(waits(), "waits")
        await asyncio.sleep(0)
        waited_for.cancel()  # as a connection does that is closed by somebody else

    loop.run(test)
    assert len(loop.failures) == 1
    assert "nobody had cancelled it" in str(loop.failures[0])


def test_what_was_cancelled_or_returned_is_nobodys_business(loop: Loop) -> None:
    async def test() -> None:
        forever = supervised(asyncio.sleep(100), "forever")
        assert await supervised(asyncio.sleep(0, "done"), "returns") == "done"
        forever.cancel()

    loop.run(test)
    assert (loop.failures, loop.events) == ([], [])


def test_grpc_finding_its_socket_empty_is_only_logged(loop: Loop) -> None:
    async def test() -> None:
        context = {
            "message": "Exception in callback PollerCompletionQueue._handle_events(<Loop>)",
            "exception": BlockingIOError(11, "Resource temporarily unavailable"),
        }
        asyncio.get_running_loop().call_exception_handler(context)

    loop.run(test)
    assert loop.failures == []
    assert [line["level"] for line in loop.events] == ["warning"]


def test_a_context_without_an_exception_is_only_logged(loop: Loop) -> None:
    async def test() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "unclosed transport"})

    loop.run(test)
    assert loop.failures == []
    assert [line["message"] for line in loop.events] == ["unclosed transport"]


def test_failures_without_end_fill_no_log(loop: Loop) -> None:
    async def test() -> None:
        for _ in range(100):
            asyncio.get_running_loop().call_soon(boom)
        await asyncio.sleep(0)

    loop.run(test)
    assert (len(loop.failures), len(loop.events)) == (100, 20)
    assert [("hint" in line) for line in loop.events] == [False] * 19 + [True]


def test_what_was_caught_is_acted_upon_like_what_was_not(loop: Loop) -> None:
    error = ValueError("nobody expected it")

    async def test() -> None:
        report(error, "a test")

    loop.run(test)
    assert loop.failures == [error]


def test_a_cancel_of_what_is_waited_for_is_none_of_the_task(loop: Loop) -> None:
    asked: list[bool] = []

    async def wait(future: asyncio.Future[None]) -> None:
        try:
            await future
        except asyncio.CancelledError:
            asked.append(is_being_cancelled())

    async def test() -> None:
        running = asyncio.get_running_loop()
        for cancel_task in (True, False):
            future = running.create_future()
            task = running.create_task(wait(future))
            await asyncio.sleep(0)
            (task if cancel_task else future).cancel()
            await asyncio.wait([task])

    loop.run(test)
    assert asked == [True, False]
