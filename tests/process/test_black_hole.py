"""A hub that says nothing is asked whether it lives: one that is gone keeps no stop waiting and is found out in
service, and one that merely holds its polls loses none of them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import pytest
import uvloop
from black_hole_support import HoldingScript, accepting, dropping
from daemon_support import at_best, is_alive
from hub_support import Log, ScriptedHub, SilentProxy, Supervisor, eventually
from links_support import make_group, running, settings_for

from arbd.hub.board import NewTask
from arbd.hub.client import HubClient
from arbd.hub.process import HubProcess
from arbd.hub.server import EmbeddedHub, HubOptions
from arbd.links.auto import AutoLink
from arbd.links.base import HubLink
from arbd.links.options import LinkOptions
from arbd.links.stream import session
from arbd.links.stream.link import GrpcStreamLink
from arbd.links.unary import probes
from arbd.links.unary.link import GrpcUnaryLink
from arbd.model.task import Outcome

STOP_S = 2.7  # a probe, and a moment to act upon what came of it

Hole = Callable[[], AbstractContextManager[str]]
Maker = Callable[[str], HubLink]


def options(url: str) -> LinkOptions:
    return LinkOptions(url=url, provider="prov", token="tok")


def unary(url: str) -> HubLink:
    return GrpcUnaryLink(options(url), logger=Log())


def stream(url: str) -> HubLink:
    return GrpcStreamLink(options(url), logger=Log())


def auto(url: str) -> HubLink:
    return AutoLink(options(url), lambda: unary(url), logger=Log())


def group(url: str) -> HubLink:
    return make_group(settings_for(url), 2)


async def stop_s(link: HubLink) -> float:
    """How long a stop of polls takes."""
    began_at = time.monotonic()
    await asyncio.wait_for(link.stop_taking(), 30)
    return time.monotonic() - began_at


# -- a stop at a hub that is gone ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hole", [accepting, dropping])
@pytest.mark.parametrize("make", [unary, stream, auto, group])
def test_a_stop_at_a_hub_that_never_said_a_word_is_short(hole: Hole, make: Maker) -> None:
    async def scenario() -> None:
        with hole() as address:
            link = make(address)
            async with running(link, Supervisor()):
                await asyncio.sleep(0.3)  # its first calls are on their way
                assert await stop_s(link) < STOP_S
                began_at = time.monotonic()
            assert time.monotonic() - began_at < 2.0, "closing it"

    at_best(lambda: uvloop.run(scenario()))


@pytest.mark.parametrize("make", [unary, stream, auto])
def test_so_is_one_at_a_hub_that_has_fallen_silent(make: Maker) -> None:
    async def scenario() -> None:
        supervisor = Supervisor()
        async with EmbeddedHub(HubOptions()) as hub, SilentProxy(hub.address) as proxy:
            link = make(proxy.address)
            async with running(link, supervisor):
                await eventually(lambda: link.stats.state == "up")
                proxy.freeze()
                assert await stop_s(link) < STOP_S

    at_best(lambda: uvloop.run(scenario()))


def test_link_processes_that_are_still_loading_keep_no_stop_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are held until they have looked around, and then they find that they are to stop."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))

    async def scenario() -> None:
        link = make_group(settings_for("127.0.0.1:1"), 2, program="late_link")
        async with running(link, Supervisor()):
            pids = [each.pid for each in link.links]
            assert await stop_s(link) < 0.5
            began_at = time.monotonic()
        assert time.monotonic() - began_at < 1.0
        assert not any(map(is_alive, pids))

    at_best(lambda: uvloop.run(scenario()))


def test_a_stop_at_a_stream_is_short_also_where_no_worker_serves() -> None:
    async def scenario() -> None:
        async with EmbeddedHub(HubOptions()) as hub:
            link = stream(hub.address)
            async with running(link, Supervisor(slots=0)):
                await eventually(lambda: link.stats.state == "up")
                assert await stop_s(link) < 1.0

    at_best(lambda: uvloop.run(scenario()))


# -- a stop at a hub that lives --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [unary, auto, group])
def test_a_stop_waits_for_a_live_hub_that_holds_its_polls(make: Maker) -> None:
    async def scenario() -> None:
        script, supervisor = HoldingScript(), Supervisor()
        async with ScriptedHub(script.get_task) as hub:
            link = make(hub.address)
            async with running(link, supervisor):
                await eventually(lambda: hub.polls)
                stopping = asyncio.create_task(link.stop_taking())
                await asyncio.wait([stopping], timeout=probes.PROBE_S + 1.0)
                assert not stopping.done(), "it cut the polls of a hub that had answered the probe"
                script.go.set()
                await asyncio.wait_for(stopping, 10)
                assert len(supervisor.tasks) == script.handed_out > 0
                assert script.cut == 0
                assert await link.flush(5.0)

    uvloop.run(scenario())


@pytest.mark.parametrize("make", [unary, group])
def test_one_that_falls_silent_during_the_stop_is_not_waited_for_any_longer(make: Maker) -> None:
    async def scenario() -> None:
        script, supervisor = HoldingScript(), Supervisor()
        async with ScriptedHub(script.get_task) as hub, SilentProxy(hub.address) as proxy:
            link = make(proxy.address)
            async with running(link, supervisor):
                await eventually(lambda: hub.polls)
                stopping = asyncio.create_task(link.stop_taking())
                await asyncio.sleep(0.5)  # it has answered the first probe
                proxy.freeze()
                await asyncio.wait_for(stopping, probes.SILENCE_S + probes.PROBE_S + 2.0)

    uvloop.run(scenario())


def test_a_stop_that_is_called_off_while_a_probe_is_under_way_cuts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PROBE_S", 0.3)

    async def scenario() -> None:
        script, supervisor = HoldingScript(), Supervisor()
        async with ScriptedHub(script.get_task) as hub, SilentProxy(hub.address) as proxy:
            link = unary(proxy.address)
            async with running(link, supervisor):
                await eventually(lambda: hub.polls)
                proxy.freeze()
                stopping = asyncio.create_task(link.stop_taking())
                await asyncio.sleep(0.1)
                link.take_again()
                await asyncio.wait_for(stopping, 5)
                await asyncio.sleep(0.5)  # for something that must not happen: a cut
                assert link.stats.reconnects == 0
                assert await stop_s(link) < 1.5, "the next stop probes anew"

    uvloop.run(scenario())


# -- in service ------------------------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed sooner."""
    monkeypatch.setattr(probes, "SILENCE_S", 0.4)
    monkeypatch.setattr(probes, "PROBE_S", 0.4)
    monkeypatch.setattr(session, "HEARTBEAT_S", 0.4)
    monkeypatch.setattr(session, "PROBE_S", 0.4)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("make", [unary, stream, auto])
def test_a_hub_that_never_says_a_word_is_told_to_be_down(make: Maker) -> None:
    async def scenario() -> None:
        with accepting() as address:
            link = make(address)
            async with running(link, Supervisor()):
                await eventually(lambda: link.stats.state == "down", 15)

    uvloop.run(scenario())


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("make", [unary, stream, auto])
def test_a_silent_connection_is_replaced_and_work_goes_on(make: Maker) -> None:
    async def scenario() -> None:
        supervisor = Supervisor()
        hub_options = HubOptions(lease_s=1.0)
        async with EmbeddedHub(hub_options) as hub, SilentProxy(hub.address) as proxy:
            link = make(proxy.address)
            async with running(link, supervisor), HubClient(hub.address) as client:
                await eventually(lambda: link.stats.state == "up")
                proxy.freeze()
                await eventually(lambda: link.stats.reconnects == 1)
                batch = await client.submit([NewTask("a") for _ in range(20)])
                statuses = [result.status async for result in client.results(batch.name)]
                assert statuses == ["success"] * 20
                assert link.stats.state == "up"

    uvloop.run(scenario())


@pytest.mark.usefixtures("short")
def test_it_is_noticed_also_while_no_call_is_under_way() -> None:
    async def scenario() -> None:
        supervisor = Supervisor(slots=1, answer=lambda task: None)
        async with EmbeddedHub(HubOptions()) as hub, SilentProxy(hub.address) as proxy:
            link = unary(proxy.address)
            async with running(link, supervisor), HubClient(hub.address) as client:
                await client.submit([NewTask("a")])
                await eventually(lambda: supervisor.tasks)
                proxy.freeze()
                await eventually(lambda: link.stats.reconnects == 1)
                supervisor.finish(Outcome(supervisor.tasks[0], "success", b'{"status":"success"}'))
                await eventually(lambda: not len(supervisor.outbox))

    uvloop.run(scenario())


@pytest.mark.usefixtures("short")
def test_a_live_hub_that_holds_its_polls_is_left_alone() -> None:
    async def scenario() -> None:
        script, supervisor = HoldingScript(), Supervisor()
        async with ScriptedHub(script.get_task) as hub, SilentProxy(hub.address) as proxy:
            link = unary(proxy.address)
            async with running(link, supervisor):
                await eventually(lambda: hub.polls)
                await asyncio.sleep(2.0)  # several probes
                assert (link.stats.reconnects, script.cut, proxy.connections) == (0, 0, 1)
                assert "down" not in link.stats.state
                script.go.set()
                await eventually(lambda: supervisor.tasks)

    uvloop.run(scenario())


@pytest.mark.usefixtures("short")
def test_polls_of_a_hub_that_was_stopped_for_a_while_are_not_cut() -> None:
    """It hangs for longer than a probe, and goes on: the answer to the poll from before is a task."""

    async def scenario(hub: HubProcess) -> None:
        supervisor = Supervisor()
        link = GrpcUnaryLink(
            LinkOptions(url=hub.address, provider="prov", token="tok", ask_hold_s=20.0), logger=(log := Log())
        )
        async with running(link, supervisor), HubClient(hub.address) as client:
            await eventually(lambda: link.stats.polls)
            await asyncio.sleep(0.5)  # the hub holds the poll
            hub.process.send_signal(signal.SIGSTOP)
            await eventually(lambda: link.stats.reconnects == 1)
            assert link.stats.state == "down"
            await asyncio.sleep(1.0)
            hub.process.send_signal(signal.SIGCONT)
            batch = await client.submit([NewTask("a")])
            [result] = [result async for result in client.results(batch.name)]
            kinds = [event.kind for event in await client.history(batch.ids[0])]
            assert kinds == ["submitted", "handed_out", "result"]
            assert result.status == "success"
            assert link.stats.failures == {}, "no poll was cut"
            await eventually(lambda: link.stats.state == "up")
            assert log.events().count("hub_unavailable") == 1

    with HubProcess(hold_s=20.0) as hub:
        uvloop.run(scenario(hub))


@pytest.mark.usefixtures("short")
def test_a_hub_that_refuses_the_token_is_not_probed() -> None:
    """Nothing is under way there for half a minute; each call counts."""

    async def scenario() -> None:
        async def refuse(hub: ScriptedHub, request: object, context: object) -> bytes:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")  # type: ignore[attr-defined] # a servicer's
            return b""

        async with ScriptedHub(refuse) as hub, SilentProxy(hub.address) as proxy:
            link = unary(proxy.address)
            async with running(link, Supervisor()):
                await eventually(lambda: link.stats.state == "refused")
                proxy.freeze()
                await asyncio.sleep(1.5)  # for something that must not happen: a probe that finds it silent
                assert (link.stats.state, link.stats.reconnects, hub.polls) == ("refused", 0, 1)
                assert await stop_s(link) < 1.0

    uvloop.run(scenario())
