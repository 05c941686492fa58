"""A link that was told to take no more takes tasks again when it is told so, also while a poll is still held by the
hub; no poll is cancelled by it, and whoever waits for the end of polls is let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop
from hub_support import Context, Log, ScriptedHub, Supervisor, eventually
from links_support import make_group, running, settings_for

from arbd.links.auto import AutoLink
from arbd.links.base import HubLink
from arbd.links.options import LinkOptions
from arbd.links.unary.link import GrpcUnaryLink
from arbd.wire.pb import hub_pb2 as pb


def unary(url: str) -> HubLink:
    return GrpcUnaryLink(LinkOptions(url=url, provider="prov", token="tok"), logger=Log())


def auto(url: str) -> HubLink:
    told = LinkOptions(url=url, provider="prov", token="tok")
    return AutoLink(told, lambda: GrpcUnaryLink(told, logger=Log()), logger=Log())


def group(url: str) -> HubLink:
    return make_group(settings_for(url), 2)


class HoldingHub:
    """A hub with the unary protocol only: each poll is held until ``go``, and brings a task."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.handed_out = 0
        self.cancelled = 0

    async def get_task(self, hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
        try:
            await self.go.wait()
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.handed_out += 1
        return pb.Task(id=f"t{self.handed_out}", action="a").SerializeToString()


@asynccontextmanager
async def at_a_hub(
    make: Callable[[str], HubLink],
) -> AsyncIterator[tuple[HoldingHub, ScriptedHub, HubLink, Supervisor]]:
    script, supervisor = HoldingHub(), Supervisor()
    async with ScriptedHub(script.get_task) as hub:
        link = make(hub.address)
        async with running(link, supervisor):
            yield script, hub, link, supervisor
            script.go.set()


@pytest.mark.parametrize("make", [unary, auto, group])
def test_in_the_middle_of_a_stop(make: Callable[[str], HubLink]) -> None:
    async def scenario() -> None:
        async with at_a_hub(make) as (script, hub, link, supervisor):
            await eventually(lambda: hub.polls)
            stopping = asyncio.create_task(link.stop_taking())
            await asyncio.sleep(0.05)  # for something that must not happen: a stop that does not wait
            assert not stopping.done()
            link.take_again()
            await asyncio.wait_for(stopping, 5)
            script.go.set()
            await eventually(lambda: len(supervisor.tasks) > 20)
            assert script.cancelled == 0

    uvloop.run(scenario())


@pytest.mark.parametrize("make", [unary, auto, group])
def test_after_a_stop_and_as_often_as_one_likes(make: Callable[[str], HubLink]) -> None:
    async def scenario() -> None:
        async with at_a_hub(make) as (script, _, link, supervisor):
            script.go.set()
            for _ in range(3):
                before = len(supervisor.tasks)
                await eventually(lambda before=before: len(supervisor.tasks) > before + 5)  # type: ignore[misc] # a default binds it
                await asyncio.wait_for(link.stop_taking(), 10)
                handed_out = script.handed_out
                assert len(supervisor.tasks) == handed_out
                await asyncio.sleep(0.05)  # for something that must not happen: a poll
                assert script.handed_out == handed_out
                link.take_again()

    uvloop.run(scenario())


def test_a_wait_that_is_cancelled_cancels_no_poll() -> None:
    async def scenario() -> None:
        async with at_a_hub(unary) as (script, hub, link, supervisor):
            await eventually(lambda: hub.polls)
            stopping = asyncio.create_task(link.stop_taking())
            await asyncio.sleep(0)
            stopping.cancel()
            await asyncio.wait([stopping])
            script.go.set()
            await eventually(lambda: supervisor.tasks)
            assert script.cancelled == 0

    uvloop.run(scenario())


def test_a_link_that_finds_out_about_the_hub_during_a_stop_takes_again_too() -> None:
    """The unary link is made while nothing may be taken: it polls only from then on."""

    async def scenario() -> None:
        async with at_a_hub(auto) as (script, hub, link, supervisor):
            stopping = asyncio.create_task(link.stop_taking())
            await eventually(lambda: link.stats.protocol == "unary")
            await asyncio.wait_for(stopping, 5)
            assert hub.polls == 0
            script.go.set()
            link.take_again()
            await eventually(lambda: len(supervisor.tasks) > 5)

    uvloop.run(scenario())


@pytest.mark.parametrize("make", [unary, auto, group])
def test_what_it_is_told_after_its_end_has_no_effect(make: Callable[[str], HubLink]) -> None:
    async def scenario() -> None:
        script, supervisor = HoldingHub(), Supervisor()
        script.go.set()
        async with ScriptedHub(script.get_task) as hub:
            link = make(hub.address)
            async with running(link, supervisor):
                await link.stop_taking()
            polls = hub.polls
            link.take_again()
            await asyncio.sleep(0.05)  # for something that must not happen: a poll
            assert hub.polls == polls

    uvloop.run(scenario())
