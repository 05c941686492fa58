"""Numbers that do not fit: the largest that settings allow, and whatever a hub or a client sends. None of them raises,
and none has anybody wait for ever."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
import uvloop
from failing_port import unexpected
from hub_support import OK, Context, Log, Supervisor, eventually, running_link
from links_support import settings_for

from arbd.hub.board import NewTask
from arbd.hub.client import HubClient
from arbd.hub.process import HubProcess
from arbd.hub.server import EmbeddedHub, HubOptions
from arbd.links.connect import make_link
from arbd.links.options import LinkOptions, max_receive
from arbd.links.stream.link import GrpcStreamLink
from arbd.model.encoding import Encoder
from arbd.model.task import Outcome
from arbd.wire import stream_frames as frames
from arbd.wire.grpc_channel import Tls, channel_options, open_channel, parse_url
from arbd.wire.pb import arbd_v1_pb2 as pb
from arbd.wire.stream_frames import ProviderFrame

GIB = 1 << 30
LARGEST = {
    "max_payload": GIB,
    "max_result": GIB,
    "hub.long_poll": 3600,
    "hub.submit_timeout": 600,
    "hub.max_polls": 1024,
    "hub.max_submits": 1024,
    "hub.idle_max": 3600,
    "hub.idle_min": 60,
    "prefetch": 4096,
    "outbox_limit": 10_000_000,
    "execution_timeout": 7 * 86_400,
    "drain_timeout": 86_400,
}


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "links"), [("unary", 0), ("unary", 1), ("stream", 0)], ids=["unary", "links", "stream"]
)
def test_a_daemon_with_the_largest_settings_talks_to_a_hub_that_takes_everything(protocol: str, links: int) -> None:
    """E8: from 512 MiB of ``max_payload`` on, the channel could not be opened: OverflowError."""

    async def scenario() -> None:
        seen, supervisor = unexpected(), Supervisor()
        async with EmbeddedHub(HubOptions(max_message=1 << 40, hold_s=0.2)) as hub:
            ring = {"ring_size": 256 << 20} if links else {}
            settings = settings_for(hub.address, **LARGEST, **ring, **{"hub.protocol": protocol, "hub.links": links})
            link = supervisor.link = make_link(settings, Encoder.of(settings))
            await link.start(supervisor)
            try:
                batch, _ = hub.board.submit([NewTask("act", b"x" * 5_000_000)], time.monotonic())
                hub.submitted()
                await eventually(lambda: hub.board.is_finished(batch), 20)
                await link.stop_taking()
                assert await link.flush(1.0)
            finally:
                await link.close()
            assert seen == []

    uvloop.run(scenario())


def test_the_largest_receive_limit_is_one_that_a_channel_takes() -> None:
    async def scenario() -> None:
        limit = max_receive(settings_for("127.0.0.1:1", max_payload=GIB))
        assert limit > GIB
        options = channel_options(max_send=-1, max_receive=limit)
        await open_channel(parse_url("127.0.0.1:1"), Tls(), options).close(None)

    uvloop.run(scenario())


# -- what a hub sends ------------------------------------------------------------------------------------------------

Says = Callable[[int, ProviderFrame, Callable[[bytes], Awaitable[None]]], Awaitable[None]]


@asynccontextmanager
async def scripted(says: Says) -> AsyncIterator[str]:
    """A hub that speaks the stream: ``says`` is given the number of the stream, each frame, and what to write with."""
    streams = 0

    async def connect(_: Any, context: Context) -> None:
        nonlocal streams
        streams += 1
        number = streams
        while (data := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined] # missing in grpc-stubs
            await says(number, frames.decode_provider_frame(data), context.write)

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers = {"Connect": grpc.stream_stream_rpc_method_handler(connect)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("arbd.v1.ProviderHub", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@asynccontextmanager
async def streaming(address: str, supervisor: Supervisor, log: Log) -> AsyncIterator[GrpcStreamLink]:
    link = supervisor.link = GrpcStreamLink(LinkOptions(url=address, provider="prov"), logger=log)
    await link.start(supervisor)
    try:
        yield link
    finally:
        await link.close()


@pytest.mark.parametrize("asked_ms", [0, 1, 10**9, (1 << 64) - 1])
def test_a_hub_that_goes_away_is_joined_again_within_a_minute_whatever_it_says(asked_ms: int) -> None:
    async def scenario() -> None:
        async def says(number: int, frame: ProviderFrame, write: Callable[[bytes], Awaitable[None]]) -> None:
            if frame.hello is not None:
                message = pb.HubFrame(seq=1, acked=1)
                message.welcome.version, message.welcome.lease_ms, message.welcome.max_frame = 1, 30_000, 1 << 20
                message.go_away.reason, message.go_away.reconnect_after_ms = "x" * 10_000, asked_ms
                await write(message.SerializeToString())

        seen, log = unexpected(), Log()
        async with scripted(says) as address, streaming(address, Supervisor(), log) as link:
            await eventually(lambda: link.stats.frames_in >= (3 if asked_ms < 1000 else 1))
            said = [words for _, event, words in log.lines if event == "hub_goes_away"]
            assert len(said) == 1, "once, and not with every one of them"
            assert 0.05 <= said[0]["reconnect_in_s"] <= 60
            assert len(said[0]["reason"]) <= 200
            assert seen == []

    uvloop.run(scenario())


@pytest.mark.parametrize("number", [0, 1, (1 << 64) - 1])
def test_a_welcome_may_hold_any_number(number: int) -> None:
    """A lease of no length, or of 500 million years; a hub that says it takes frames of no byte, or of 16 EiB."""

    async def scenario() -> None:
        results: list[frames.FrameResult] = []

        async def says(_: int, frame: ProviderFrame, write: Callable[[bytes], Awaitable[None]]) -> None:
            if frame.hello is not None:
                message = pb.HubFrame(seq=1, acked=1)
                message.welcome.version, message.welcome.lease_ms = 1, number
                message.welcome.max_frame = number if number != 1 else 1 << 20
                message.tasks.add(id="t", action="act", time_left_us=(1 << 64) - 1, attempt=(1 << 32) - 1)
                await write(message.SerializeToString())
            results.extend(frame.results)

        seen, supervisor = unexpected(), Supervisor(answer=lambda task: Outcome(task, "success", OK))
        async with scripted(says) as address, streaming(address, supervisor, Log()) as link:
            await eventually(lambda: results)
            frames_out = link.stats.frames_out
            await asyncio.sleep(0.5)  # the length of the observation
            assert link.stats.frames_out - frames_out <= 12, "renewals come at most every 50 ms"
            assert (results[0].status, results[0].result) == ("success", OK)
            assert seen == []

    uvloop.run(scenario())


# -- what a client of the embedded hub sends -------------------------------------------------------------------------


def test_a_time_limit_of_half_an_eternity_reaches_the_provider() -> None:
    async def scenario() -> None:
        seen, supervisor = unexpected(), Supervisor()
        async with EmbeddedHub(HubOptions(lease_s=1e18)) as hub, HubClient(hub.address) as client:
            async with streaming(hub.address, supervisor, Log()):
                batch = await client.submit([NewTask("act", timeout=1.8e16), NewTask("act")])
                assert [result.status async for result in client.results(batch.name)] == ["success"] * 2
            assert seen == []

    uvloop.run(scenario())


@pytest.mark.parametrize("asked", ["9" * 12, "9" * 5000, "-1", "1e3", "nan", ""])
def test_a_poll_may_ask_to_be_held_for_anything(asked: str) -> None:
    async def scenario() -> None:
        seen = unexpected()
        async with EmbeddedHub(HubOptions(hold_s=0.1)) as hub, grpc.aio.insecure_channel(hub.address) as channel:
            poll = channel.unary_unary("/Hub/GetTask", None, None)
            assert await poll(b"", timeout=5, metadata=(("arbd-long-poll-ms", asked),)) == b""
            assert seen == []

    uvloop.run(scenario())


# -- descriptors -----------------------------------------------------------------------------------------------------

STARVED = """
import asyncio, os, resource, sys
from types import SimpleNamespace
from arbd.core.outbox import MemoryOutbox
from arbd.links.unary.link import GrpcUnaryLink, LinkOptions

async def main():
    link = GrpcUnaryLink(LinkOptions(url="127.0.0.1:1", provider="p"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    held = []
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        pass
    for _ in range(int(sys.argv[1])):
        os.close(held.pop())
    try:
        await link.start(SimpleNamespace(outbox=MemoryOutbox()))
    except OSError as error:
        os.write(1, f"OSError {error.errno}".encode())
    for fd in held:
        os.close(fd)

asyncio.run(main())
"""


@pytest.mark.parametrize("spare", [0, 1, 2, 4])
def test_a_first_connection_without_descriptors_is_an_error_and_no_crash(spare: int) -> None:
    """gRPC, set up without descriptors, ends the process by a segmentation fault or an abort."""
    ended = subprocess.run([sys.executable, "-c", STARVED, str(spare)], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (0, "OSError 24"), ended.stderr


def test_a_moment_without_descriptors_is_a_hub_that_is_unavailable() -> None:
    async def scenario(hub: HubProcess) -> None:
        seen, supervisor, log = unexpected(), Supervisor(), Log()
        async with running_link(hub.address, supervisor, log=log) as link:
            await eventually(lambda: link.stats.state == "up")
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
            try:
                hub.process.kill()
                hub.process.wait()
                await eventually(lambda: link.stats.state == "down")
                await asyncio.sleep(0.3)  # the length of that moment
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            with HubProcess(address=hub.address, hold_s=0.2):
                async with HubClient(hub.address) as client:
                    batch = await client.submit([NewTask("act")])
                    assert [result.status async for result in client.results(batch.name)] == ["success"]
            assert seen == []
            assert log.events() == ["hub_connected", "hub_unavailable", "hub_connected"]

    with HubProcess(hold_s=0.2) as hub:
        uvloop.run(scenario(hub))
