"""What a look at a link finds: nothing while it does its work or waits for a hub, and what does not go on where a call
has no end, a pause no successor or a coroutine has ended. The clock of the looks is stepped by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hub_support import OK, Log, ScriptedHub, Supervisor, eventually, free_port, running_link, tasks_once

from arbd.links.base import OVERDUE_S, LinkHealth
from arbd.links.options import LinkOptions
from arbd.links.stream.link import GrpcStreamLink
from arbd.links.unary.link import GrpcUnaryLink
from arbd.model.task import Outcome, Task

POLL_S = 2.0  # a poll's deadline
QUICK: dict[str, Any] = {"long_poll_s": 1.0, "poll_margin_s": 1.0, "submit_timeout_s": 2.0}


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type] # each is a coroutine function


def looks(link: GrpcUnaryLink, seconds: float) -> list[LinkHealth]:
    """Looks of so many seconds, one each, made in one moment: nothing happens in between."""
    now = asyncio.get_running_loop().time()
    return [link.health(now + number) for number in range(int(seconds) + 1)]


def test_a_link_that_works_is_well_and_may_send() -> None:
    async def test() -> None:
        supervisor = Supervisor()
        async with ScriptedHub(tasks_once("a", "b")) as hub, running_link(hub.address, supervisor, **QUICK) as link:
            await eventually(lambda: not len(supervisor.outbox) and len(hub.results) == 2)
            for _ in range(20):
                await asyncio.sleep(0.02)
                assert link.health(asyncio.get_running_loop().time()) == LinkHealth("", may_send=True)

    run(test)


def test_a_hub_that_is_not_there_makes_nothing_overdue() -> None:
    async def test() -> None:
        async with running_link(f"127.0.0.1:{free_port()}", Supervisor(), **QUICK) as link:
            for _ in range(30):
                await asyncio.sleep(0.02)
                assert link.health(asyncio.get_running_loop().time()).overdue == ""

    run(test)


def calls_of(link: Any) -> Any:
    """The calls of a link that has begun."""
    assert link._calls is not None
    return link._calls


async def never(*_: Any, **__: Any) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError


def test_polls_without_an_end_are_overdue_once_they_are_past_their_deadlines() -> None:
    async def test() -> None:
        async with ScriptedHub(tasks_once()) as hub, running_link(hub.address, Supervisor(), **QUICK) as link:
            calls = calls_of(link)
            calls.connection.get_task = never  # in place of gRPC's
            await eventually(lambda: calls.polls.under_way > 0)
            await asyncio.sleep(0.2)  # the one before has ended
            found = looks(link, POLL_S + OVERDUE_S + 3)
            assert {each.overdue for each in found[: int(POLL_S + OVERDUE_S)]} == {""}
            assert found[-1].overdue == "polls are past their deadlines"

    run(test)


def test_results_without_an_answer_are_overdue_once_their_calls_are_past_their_deadlines() -> None:
    async def test() -> None:
        supervisor = Supervisor()
        async with ScriptedHub(tasks_once()) as hub, running_link(hub.address, supervisor, **QUICK) as link:
            calls = calls_of(link)
            calls.connection.submit = never  # in place of gRPC's
            supervisor.running += 1
            supervisor.finish(Outcome(Task("a", "act", b""), "success", OK))
            await eventually(lambda: calls.submits.under_way > 0)
            found = [link._submits.overdue(100.0 + number) for number in range(10)]
            assert found[:7] == [""] * 7
            assert found[-1] == "results are past the deadlines of their calls"

    run(test)


def test_polls_that_could_start_and_do_not_are_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with ScriptedHub(tasks_once()) as hub, running_link(hub.address, Supervisor(), **QUICK) as link:
            await eventually(lambda: link.stats.polls > 0)
            monkeypatch.setattr(link._polls, "release", lambda: None)
            calls = calls_of(link)
            await eventually(lambda: calls.polls.under_way == 0)
            await asyncio.sleep(1.2)  # its pause after an empty answer is over
            assert [each.overdue for each in looks(link, 2)] == ["", *["polls could start, and do not"] * 2]

    run(test)


@pytest.mark.parametrize(
    ("part", "words"),
    [("_polls", "a coroutine that polls the hub has ended"), ("_submits", "a coroutine that sends results has ended")],
)
def test_a_coroutine_that_has_ended_is_overdue_at_once(part: str, words: str) -> None:
    async def test() -> None:
        async with ScriptedHub(tasks_once()) as hub, running_link(hub.address, Supervisor(), **QUICK) as link:
            await eventually(lambda: link.stats.polls > 0)
            coroutine = getattr(link, part).crew[0]
            coroutine.cancel()
            await asyncio.wait([coroutine])
            assert looks(link, 0)[0].overdue == words

    run(test)


def test_without_room_for_tasks_or_while_it_stops_no_poll_is_missed() -> None:
    async def test() -> None:
        async with ScriptedHub(tasks_once()) as hub, running_link(hub.address, Supervisor(slots=0), **QUICK) as link:
            assert {each.overdue for each in looks(link, 30)} == {""}
            await link.stop_taking()
            assert {each.overdue for each in looks(link, 30)} == {""}

    run(test)


def test_a_stream_whose_coroutine_has_ended_is_overdue_and_one_without_a_hub_is_not() -> None:
    async def test() -> None:
        options = LinkOptions(url=f"127.0.0.1:{free_port()}", provider="prov", token="tok")
        link = GrpcStreamLink(options, logger=Log())
        await link.start(Supervisor())
        try:
            await eventually(lambda: link.stats.state == "down")
            loop = asyncio.get_running_loop()
            assert link.health(loop.time()) == LinkHealth()
            assert link._loop_task is not None
            link._loop_task.cancel()
            await asyncio.wait([link._loop_task])
            assert link.health(loop.time()).overdue == "what serves the stream has ended"
        finally:
            await link.close()

    run(test)
