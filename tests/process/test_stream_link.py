"""The stream link over real sockets: batches in, results out, one verdict per task whatever happens to the stream; and
the choice between stream and unary."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import uvloop
from hub_support import OK, Context, Log, SilentProxy, Supervisor, eventually, free_port

from arbd.hub.board import NewTask
from arbd.hub.client import HubClient
from arbd.hub.process import HubProcess
from arbd.hub.server import EmbeddedHub, HubOptions
from arbd.links.auto import AutoLink
from arbd.links.options import LinkOptions
from arbd.links.stream.link import GrpcStreamLink
from arbd.links.unary.link import GrpcUnaryLink
from arbd.model.task import Outcome, Task

ONCE = ["submitted", "handed_out", "result"]


@asynccontextmanager
async def streaming(
    url: str, supervisor: Supervisor, *, log: Log | None = None, **options: Any
) -> AsyncIterator[GrpcStreamLink]:
    link = GrpcStreamLink(
        LinkOptions(**{"url": url, "provider": "prov", "token": "tok", **options}), logger=log or Log()
    )
    supervisor.link = link
    await link.start(supervisor)
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def choosing(url: str, supervisor: Supervisor, **options: Any) -> AsyncIterator[AutoLink]:
    told = LinkOptions(url=url, provider="prov", **options)
    link = AutoLink(told, lambda: GrpcUnaryLink(told, logger=Log()), logger=Log())
    supervisor.link = link
    await link.start(supervisor)
    try:
        yield link
    finally:
        await link.close()


def submit(hub: EmbeddedHub, count: int, **options: Any) -> tuple[str, list[str]]:
    """Tasks straight onto the board of a hub in this process."""
    batch, ids = hub.board.submit([NewTask("act", b"{}", **options) for _ in range(count)], time.monotonic())
    hub.submitted()
    return batch, ids


def kinds(hub: EmbeddedHub, task_id: str) -> list[str]:
    return [event.kind for event in hub.board.history(task_id)]


def test_every_task_gets_exactly_its_own_result() -> None:
    async def scenario(address: str) -> None:
        def answer(task: Task) -> Outcome:
            return Outcome(task, "success", b'{"status":"success","data":' + task.payload + b"}")

        async with HubClient(address) as client, streaming(address, Supervisor(8, answer)) as link:
            batch = await client.submit(NewTask("echo", b'{"n":%d}' % number) for number in range(3000))
            results = {result.id: result async for result in client.results(batch.name)}
            numbers = [results[task_id].response["data"]["n"] for task_id in batch.ids]
            assert numbers == list(range(3000))
            assert [event.kind for event in await client.history(batch.ids[7])] == ONCE
            await eventually(lambda: link.stats.accepted == 3000)
            assert (link.stats.tasks, link.stats.state, link.stats.failures) == (3000, "up", {})

    with HubProcess() as hub:
        uvloop.run(scenario(hub.address))


def test_the_hub_sends_no_more_than_there_are_slots_and_then_what_becomes_free() -> None:
    async def scenario() -> None:
        supervisor = Supervisor(slots=5, answer=lambda task: None)
        async with EmbeddedHub() as hub, streaming(hub.address, supervisor):
            submit(hub, 20)
            await eventually(lambda: len(supervisor.tasks) == 5)
            await asyncio.sleep(0.1)  # for something that must not happen: a task without a slot
            assert len(supervisor.tasks) == 5
            supervisor.finish(Outcome(supervisor.tasks[0], "success", OK))
            await eventually(lambda: len(supervisor.tasks) == 6)
            assert [task.attempt for task in supervisor.tasks] == [1] * 6

    uvloop.run(scenario())


def test_many_tasks_share_frames_and_one_task_has_its_own() -> None:
    async def scenario() -> None:
        async with EmbeddedHub() as hub, streaming(hub.address, Supervisor(64)) as link:
            batch, _ = submit(hub, 2000)
            await eventually(lambda: hub.board.is_finished(batch))
            assert link.stats.frames_in < 300
            before = hub.calls["stream frames in"]
            for _ in range(10):
                batch, _ = submit(hub, 1)
                await eventually(lambda batch=batch: hub.board.is_finished(batch))  # type: ignore[misc] # bound above
            assert hub.calls["stream frames in"] - before == 10

    uvloop.run(scenario())


def test_what_a_task_carries() -> None:
    async def scenario() -> None:
        supervisor = Supervisor(answer=lambda task: None)
        async with EmbeddedHub() as hub, HubClient(hub.address) as client, streaming(hub.address, supervisor):
            await client.submit([NewTask("act", b"{}", b"acc", "t1", "", 7, 60.0, "00-abc-def-01")])
            await eventually(lambda: supervisor.tasks)
            task = supervisor.tasks[0]
            assert (task.id, task.account, task.priority, task.traceparent) == ("t1", b"acc", 7, "00-abc-def-01")
            assert 59 < task.deadline - time.monotonic() <= 60

    uvloop.run(scenario())


def test_the_hub_learns_what_can_be_run_and_learns_it_again() -> None:
    async def scenario() -> None:
        supervisor = Supervisor()
        async with EmbeddedHub() as hub, streaming(hub.address, supervisor) as link:
            await eventually(lambda: hub.streams.desk.peers)
            [peer] = hub.streams.desk.peers
            [action] = peer.actions
            assert (peer.name, action.name, action.timeout) == ("prov", "act", 2.0)
            assert action.payload_schema == {"type": "object"}
            supervisor.actions = []
            link.slots_changed()
            await eventually(lambda: list(peer.actions) == [])

    uvloop.run(scenario())


def test_a_result_too_large_for_the_hub_is_replaced() -> None:
    async def scenario() -> None:
        supervisor = Supervisor(answer=lambda task: Outcome(task, "success", b" " * 300_000))
        async with EmbeddedHub(HubOptions(max_message=200_000)) as hub, streaming(hub.address, supervisor) as link:
            batch, _ = submit(hub, 3)
            await eventually(lambda: hub.board.is_finished(batch))
            assert {result.status for result in hub.board.results(batch)} == {"error"}
            await eventually(lambda: link.stats.shortened == 3)
            assert link.stats.failures == {}

    uvloop.run(scenario())


def test_a_task_of_20_megabytes_comes_through_among_small_ones() -> None:
    async def scenario() -> None:
        supervisor = Supervisor()
        async with EmbeddedHub() as hub, streaming(hub.address, supervisor):
            news = [NewTask("act", b"{}"), NewTask("act", b" " * 20_000_000), NewTask("act", b"{}")]
            batch, _ = hub.board.submit(news, time.monotonic())
            hub.submitted()
            await eventually(lambda: hub.board.is_finished(batch))
            assert sorted(len(task.payload) for task in supervisor.tasks) == [2, 2, 20_000_000]

    uvloop.run(scenario())


def test_a_stop_takes_what_was_on_its_way_and_nothing_after_it() -> None:
    async def scenario() -> None:
        supervisor = Supervisor()
        async with EmbeddedHub() as hub, streaming(hub.address, supervisor) as link:
            await eventually(lambda: link.stats.state == "up")
            submit(hub, 500)
            begin = time.monotonic()
            await link.stop_taking()
            assert time.monotonic() - begin < 1
            assert await link.flush(2.0)
            taken = len(supervisor.tasks)
            submit(hub, 5)
            await asyncio.sleep(0.05)  # for something that must not happen: a task after the stop
            assert len(supervisor.tasks) == taken
            assert (hub.board.leased, hub.board.queued) == (0, 505 - taken)

    uvloop.run(scenario())


def test_a_cancel_reaches_the_provider_and_its_verdict_counts() -> None:
    async def scenario() -> None:
        supervisor = Supervisor(slots=1, answer=lambda task: None)
        async with EmbeddedHub() as hub, HubClient(hub.address) as client, streaming(hub.address, supervisor):
            batch = await client.submit([NewTask("act"), NewTask("act")])
            await eventually(lambda: supervisor.tasks)
            running, queued = batch.ids
            assert await client.cancel(queued) is True
            assert await client.cancel(queued) is False
            assert await client.cancel(running) is True
            await eventually(lambda: supervisor.cancelled == [running])
            supervisor.finish(Outcome(supervisor.tasks[0], "error", b'{"data":{"error_code":"CANCELLED"}}'))
            results = {result.id: result.response async for result in client.results(batch.name)}
            assert [results[task_id]["data"]["error_code"] for task_id in batch.ids] == ["CANCELLED"] * 2
            assert kinds(hub, queued) == ["submitted", "cancelled", "gave_up"]
            assert kinds(hub, running) == ["submitted", "handed_out", "cancelled", "result"]

    uvloop.run(scenario())


def test_leases_are_renewed_while_a_task_is_held() -> None:
    async def scenario() -> None:
        supervisor = Supervisor(answer=lambda task: None)
        async with EmbeddedHub(HubOptions(lease_s=0.4)) as hub, streaming(hub.address, supervisor):
            _, [task_id] = submit(hub, 1)
            await eventually(lambda: kinds(hub, task_id).count("renewed") >= 4)
            assert "expired" not in kinds(hub, task_id)

    uvloop.run(scenario())


def test_a_hub_that_is_killed_and_started_again() -> None:
    """The new hub knows nothing of the old tasks: their results are refused for good, new tasks go through."""

    async def scenario(port: int) -> None:
        supervisor = Supervisor(answer=lambda task: None)
        log = Log()
        address = f"127.0.0.1:{port}"
        async with streaming(address, supervisor, log=log) as link:
            async with EmbeddedHub(HubOptions(address=address)) as hub:
                submit(hub, 2)
                await eventually(lambda: len(supervisor.tasks) == 2)
                hub.streams.stop = _at_once  # type: ignore[method-assign] # it is killed: no good-bye
            for task in supervisor.tasks:
                supervisor.finish(Outcome(task, "success", OK))
            async with EmbeddedHub(HubOptions(address=address)) as hub:
                await eventually(lambda: link.stats.dropped == 2)
                submit(hub, 3)
                await eventually(lambda: len(supervisor.tasks) == 5)
                assert len(supervisor.outbox) == 0
                assert log.events().count("hub_unavailable") == 1

    async def _at_once() -> None:
        return None

    uvloop.run(scenario(free_port()))


def test_a_broken_stream_loses_nothing_and_repeats_nothing() -> None:
    """Streams are cut again and again under load; each task is answered, none runs twice."""

    async def scenario() -> None:
        supervisor = Supervisor(slots=32)
        async with EmbeddedHub() as hub, streaming(hub.address, supervisor) as link:
            batch, ids = submit(hub, 20_000)
            cuts = 0
            while not hub.board.is_finished(batch):
                call = link._call
                if call is not None and link.stats.state == "up":
                    call.cancel()
                    cuts += 1
                await asyncio.sleep(0.02)
            assert cuts >= 3
            assert sorted(task.id for task in supervisor.tasks) == sorted(ids)
            finals = [kind for task_id in ids for kind in kinds(hub, task_id) if kind in ("result", "result_late")]
            assert len(finals) == 20_000
            await eventually(lambda: len(supervisor.outbox) == 0)

    uvloop.run(scenario())


def test_a_half_open_connection_is_replaced() -> None:
    async def scenario() -> None:
        supervisor = Supervisor(answer=lambda task: None)
        async with EmbeddedHub() as hub, SilentProxy(hub.address) as proxy:  # noqa: SIM117 # the proxy ends last
            async with streaming(proxy.address, supervisor, submit_timeout_s=0.3) as link:
                _, [first] = submit(hub, 1)
                await eventually(lambda: supervisor.tasks)
                proxy.freeze()
                supervisor.finish(Outcome(supervisor.tasks[0], "success", OK))
                await eventually(lambda: link.stats.reconnects == 1)
                await eventually(lambda: len(supervisor.outbox) == 0)
                submit(hub, 1)
                await eventually(lambda: len(supervisor.tasks) == 2)
                assert kinds(hub, first) == ["submitted", "handed_out", "renewed", "result"]

    uvloop.run(scenario())


def test_a_hub_that_goes_away_is_joined_again_without_noise() -> None:
    async def scenario(port: int) -> None:
        supervisor = Supervisor()
        log = Log()
        options = HubOptions(address=f"127.0.0.1:{port}")
        async with streaming(f"127.0.0.1:{port}", supervisor, log=log) as link:
            async with EmbeddedHub(options) as hub:
                batch, _ = submit(hub, 10)
                await eventually(lambda: hub.board.is_finished(batch))
            assert "hub_goes_away" in log.events()
            async with EmbeddedHub(options) as hub:
                batch, _ = submit(hub, 10)
                await eventually(lambda: hub.board.is_finished(batch))
                assert link.stats.state == "up"

    uvloop.run(scenario(free_port()))


def test_a_refused_token_is_hardly_ever_sent() -> None:
    async def scenario() -> None:
        log = Log()
        async with (
            EmbeddedHub(HubOptions(tokens=["right"])) as hub,
            streaming(hub.address, Supervisor(), log=log, token="wrong", refused_interval_s=0.3) as link,
        ):
            begin = time.monotonic()
            await eventually(lambda: hub.calls["refused"] >= 3)
            assert hub.calls["refused"] <= 2 + (time.monotonic() - begin) / 0.3
            assert link.stats.state == "refused"
            assert log.events().count("hub_refuses_token") == 1
            assert hub.streams.desk.peers == []
            assert "wrong" not in repr(log.lines)

    uvloop.run(scenario())


def test_a_hub_that_ends_streams_without_a_word_is_not_hammered() -> None:
    async def scenario() -> None:
        connects = 0

        async def connect(_: Any, context: Context) -> None:
            nonlocal connects
            connects += 1

        handlers = {"Connect": grpc.stream_stream_rpc_method_handler(connect)}
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("arbd.v1.ProviderHub", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with streaming(f"127.0.0.1:{port}", Supervisor()) as link:
            await asyncio.sleep(1.0)  # the length of the observation
            assert 2 <= connects <= 30
            assert link.stats.state == "down"
        await server.stop(0)

    uvloop.run(scenario())


# -- the choice ------------------------------------------------------------------------------------------------------


def test_auto_uses_the_stream_where_there_is_one() -> None:
    async def scenario() -> None:
        async with EmbeddedHub() as hub, choosing(hub.address, Supervisor()) as link:
            batch, _ = submit(hub, 100)
            await eventually(lambda: hub.board.is_finished(batch))
            assert (link.stats.protocol, hub.calls["GetTask"]) == ("stream", 0)

    uvloop.run(scenario())


def test_auto_falls_back_and_remembers_it_until_the_connection_ends() -> None:
    """A hub without the stream is asked once; the one that takes its place is asked again."""

    async def scenario(port: int) -> None:
        address = f"127.0.0.1:{port}"
        async with choosing(address, Supervisor()) as link:
            async with EmbeddedHub(HubOptions(address=address, stream=False, hold_s=0.1)) as old:
                batch, _ = submit(old, 100)
                await eventually(lambda: old.board.is_finished(batch))
                assert link.stats.protocol == "unary"
                assert link._stream.stats.failures == {"Connect UNIMPLEMENTED": 1}
            async with EmbeddedHub(HubOptions(address=address, hold_s=0.1)) as new:
                await eventually(lambda: link.stats.protocol == "stream")
                batch, _ = submit(new, 100)
                await eventually(lambda: new.board.is_finished(batch))
                await eventually(lambda: not link._retiring)
                await link.stop_taking()
                assert await link.flush(2.0)

    uvloop.run(scenario(free_port()))


def test_both_protocols_at_one_hub_share_the_tasks() -> None:
    async def scenario() -> None:
        streamed, polled = Supervisor(4), Supervisor(4)
        async with EmbeddedHub() as hub:
            unary = LinkOptions(url=hub.address, provider="other")
            from arbd.links.unary.link import GrpcUnaryLink

            link = GrpcUnaryLink(unary, logger=Log())
            polled.link = link
            await link.start(polled)
            async with streaming(hub.address, streamed):
                await eventually(lambda: hub.streams.streams == 1 and hub.calls["GetTask"])
                batch, ids = submit(hub, 2000)
                await eventually(lambda: hub.board.is_finished(batch))
            await link.close()
            taken = [task.id for task in streamed.tasks] + [task.id for task in polled.tasks]
            assert sorted(taken) == sorted(ids)
            assert polled.tasks
            assert streamed.tasks

    uvloop.run(scenario())
