"""Whatever a collaborator of a hub link raises: what is ordinary becomes an ordinary outcome, what nobody expected
reaches the loop's exception handler; every task is answered, nothing stays under way, and the link still ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop
from failing_port import Boom, Channel, Faults, FaultyPort, break_grpc, no_descriptor, unexpected
from hub_support import OK, Log, Supervisor, eventually, free_port

from arbd.hub.board import NewTask
from arbd.hub.server import EmbeddedHub, HubOptions
from arbd.links import ending
from arbd.links.auto import AutoLink
from arbd.links.base import HubLink
from arbd.links.options import LinkOptions
from arbd.links.stream.link import GrpcStreamLink
from arbd.links.stream.session import ProviderSession
from arbd.links.unary.link import GrpcUnaryLink
from arbd.model.task import Outcome, Task

MAKE: dict[str, Callable[..., HubLink]] = {"unary": GrpcUnaryLink, "stream": GrpcStreamLink}
SOON_S = 5.0

errors = pytest.mark.parametrize("make_error", [Boom, no_descriptor], ids=["unexpected", "OSError"])
protocols = pytest.mark.parametrize("protocol", list(MAKE))


@asynccontextmanager
async def linked(protocol: str, address: str, port: Supervisor, **options: object) -> AsyncIterator[HubLink]:
    told = LinkOptions(**{"url": address, "provider": "prov", "submit_timeout_s": 2.0, **options})  # type: ignore[arg-type] # passed on
    link = port.link = MAKE[protocol](told, logger=Log())
    await link.start(port)
    try:
        yield link
    finally:
        async with asyncio.timeout(SOON_S):
            await link.close()


def submit(hub: EmbeddedHub, count: int) -> str:
    batch, _ = hub.board.submit([NewTask("act", b"{}") for _ in range(count)], time.monotonic())
    hub.submitted()
    return batch


async def answered(hub: EmbeddedHub, batch: str) -> None:
    await eventually(lambda: hub.board.is_finished(batch))


async def ends(link: HubLink, port: Supervisor) -> None:
    """It stops, and sends everything, in bounded time."""
    async with asyncio.timeout(SOON_S):
        await link.stop_taking()
    assert await link.flush(SOON_S)
    assert len(port.outbox) == 0


async def serve_through(protocol: str, faults: Faults, name: str, *raised: Exception) -> list[BaseException]:
    """Serve tasks while calls of that name raise; what the exception handler was told."""
    seen = unexpected()
    port = FaultyPort(faults)
    async with EmbeddedHub(HubOptions(hold_s=0.2)) as hub, linked(protocol, hub.address, port) as link:
        await answered(hub, submit(hub, 20))
        faults.fail(name, *raised)
        for _ in range(10):
            await answered(hub, submit(hub, 20))
        await eventually(lambda: faults.raised[name] == len(raised))
        await answered(hub, submit(hub, 20))
        await eventually(lambda: len(port.outbox) == 0)
        assert len(port.tasks) == len({task.id for task in port.tasks}) == 240
        await ends(link, port)
    return seen


# -- the daemon ------------------------------------------------------------------------------------------------------


@errors
@pytest.mark.parametrize("name", ["take_tasks", "free_slots", "take", "ack"])
@protocols
def test_what_the_daemon_raises_is_seen_and_work_goes_on(
    protocol: str, name: str, make_error: Callable[[], Exception]
) -> None:
    """E1: an exception of ``take`` left a poll under way for ever, or the stream without these tasks and without a
    word."""
    raised = [make_error(), make_error()]
    assert uvloop.run(serve_through(protocol, Faults(), name, *raised)) == raised


@errors
@protocols
def test_a_result_that_cannot_be_put_back_is_not_lost(
    protocol: str, make_error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, raised = Faults(), make_error()
    break_grpc(monkeypatch, faults)
    faults.fail("put_back", raised)

    async def scenario() -> None:
        seen, port = unexpected(), FaultyPort(faults, answer=lambda task: None)
        async with EmbeddedHub(HubOptions(hold_s=0.2)) as hub, linked(protocol, hub.address, port) as link:
            batch = submit(hub, 3)
            await eventually(lambda: len(port.tasks) == 3)
            faults.fail("SubmitTaskResult" if protocol == "unary" else "write", no_descriptor())
            for task in port.tasks:
                port.finish(Outcome(task, "success", OK))
            await answered(hub, batch)
            assert seen == [raised]
            await ends(link, port)

    uvloop.run(scenario())


@errors
def test_a_cancel_that_raises_is_seen_and_work_goes_on(make_error: Callable[[], Exception]) -> None:
    async def scenario() -> None:
        faults, raised = Faults(), make_error()
        seen, port = unexpected(), FaultyPort(faults, answer=lambda task: None)
        async with EmbeddedHub() as hub, linked("stream", hub.address, port) as link:
            batch = submit(hub, 2)
            await eventually(lambda: len(port.tasks) == 2)
            faults.fail("cancel", raised)
            first, second = port.tasks
            hub.board.cancel(first.id, time.monotonic())
            hub.streams._cancel(first.id)
            await eventually(lambda: seen == [raised])
            for task in (first, second):
                port.finish(Outcome(task, "success", OK))
            await answered(hub, batch)
            await ends(link, port)

    uvloop.run(scenario())


@errors
def test_actions_that_cannot_be_told_keep_no_result_back(make_error: Callable[[], Exception]) -> None:
    raised = [make_error(), make_error()]
    assert uvloop.run(serve_through("stream", Faults(), "actions", *raised)) == raised


def test_a_batch_that_waited_for_the_tick_is_not_lost_with_what_it_raises() -> None:
    """A busy unary link hands tasks over in batches, from a timer."""

    async def scenario() -> None:
        faults = Faults()
        seen, port = unexpected(), FaultyPort(faults, slots=500, answer=lambda task: None)
        async with EmbeddedHub(HubOptions(hold_s=0.2)) as hub, linked("unary", hub.address, port) as link:
            batch = submit(hub, 400)
            faults.fail("take_tasks", *(Boom() for _ in range(5)))
            while not hub.board.is_finished(batch):
                while port.running:
                    port.finish(Outcome(port.tasks[-port.running], "success", OK))
                await asyncio.sleep(0.001)
            assert len(seen) == 5
            await ends(link, port)

    uvloop.run(scenario())


@protocols
def test_a_daemon_that_never_says_how_many_slots_it_has_still_gets_its_results_out(protocol: str) -> None:
    async def scenario() -> None:
        faults = Faults()
        seen, port = unexpected(), FaultyPort(faults, answer=lambda task: None)
        async with EmbeddedHub(HubOptions(hold_s=0.2)) as hub, linked(protocol, hub.address, port) as link:
            batch = submit(hub, 5)
            await eventually(lambda: len(port.tasks) == 5)
            faults.fail("free_slots", *(Boom() for _ in range(10_000)))
            for task in port.tasks:
                port.finish(Outcome(task, "success", OK))
            await answered(hub, batch)
            await ends(link, port)
            assert seen
            assert {type(error) for error in seen} == {Boom}

    uvloop.run(scenario())


def test_a_result_that_cannot_be_made_ready_lets_the_others_go() -> None:
    """The response that stands for a result too large raises: a bug that concerns one result alone."""

    async def scenario() -> None:
        def boom(task: Task, size: int, limit: int) -> bytes:
            raise Boom(task.id)

        seen, port = unexpected(), Supervisor(answer=lambda task: None)
        options = {"too_large_result": boom, "max_message": 100_000}
        async with EmbeddedHub(HubOptions(hold_s=0.2)) as hub, linked("unary", hub.address, port, **options) as link:
            submit(hub, 3)
            await eventually(lambda: len(port.tasks) == 3)
            for task, result in zip(port.tasks, (b"x" * 200_000, OK, OK), strict=True):
                port.finish(Outcome(task, "success", result))
            await eventually(lambda: len(port.outbox) == 1)
            assert {str(error) for error in seen} == {port.tasks[0].id}
            assert await link.flush(0.2) is False
        left = port.outbox.take()
        assert left is not None
        assert left.task is port.tasks[0]

    uvloop.run(scenario())


# -- gRPC ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        ("unary", "GetTask"),
        ("unary", "SubmitTaskResult"),
        ("stream", "read"),
        ("stream", "write"),
    ],
)
@errors
def test_a_call_that_raises_is_made_again(
    protocol: str, name: str, make_error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, raised = Faults(), [make_error(), make_error()]
    break_grpc(monkeypatch, faults)
    seen = uvloop.run(serve_through(protocol, faults, name, *raised))
    assert seen == (raised if make_error is Boom else [])


@errors
def test_a_stream_that_cannot_be_opened_is_tried_again(
    make_error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, raised = Faults(), [make_error(), make_error()]
    break_grpc(monkeypatch, faults)
    faults.fail("Connect", *raised)

    async def scenario() -> None:
        seen, port = unexpected(), Supervisor()
        async with EmbeddedHub() as hub, linked("stream", hub.address, port) as link:
            await answered(hub, submit(hub, 20))
            assert seen == (raised if make_error is Boom else [])
            await ends(link, port)

    uvloop.run(scenario())


@protocols
@errors
def test_a_channel_that_raises_when_it_is_closed(
    protocol: str, make_error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, raised = Faults(), make_error()
    break_grpc(monkeypatch, faults)

    async def scenario() -> None:
        seen, port = unexpected(), Supervisor()
        async with EmbeddedHub(HubOptions(hold_s=0.2)) as hub, linked(protocol, hub.address, port) as link:
            await answered(hub, submit(hub, 20))
            faults.fail("close", raised)
            await link.close()
            await eventually(lambda: seen == [raised])

    uvloop.run(scenario())


@protocols
def test_a_channel_that_never_closes_keeps_nobody_waiting(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        really = Channel.close
        channels: list[Channel] = []

        async def never(channel: Channel, grace: float | None = None) -> None:
            channels.append(channel)
            await asyncio.Event().wait()

        port = Supervisor(answer=lambda task: None)
        async with EmbeddedHub(HubOptions(hold_s=0.2)) as hub:
            async with linked(protocol, hub.address, port):
                batch = submit(hub, 1)
                await eventually(lambda: port.tasks)
                monkeypatch.setattr(ending, "END_TIMEOUT_S", 0.2)
                monkeypatch.setattr(Channel, "close", never)
            monkeypatch.setattr(Channel, "close", really)
            assert channels
            for channel in channels:
                await channel.close()
            assert not hub.board.is_finished(batch)

    uvloop.run(scenario())


@protocols
def test_after_its_end_a_link_can_be_told_anything(protocol: str) -> None:
    async def scenario() -> None:
        seen, port = unexpected(), Supervisor()
        async with EmbeddedHub(HubOptions(hold_s=0.2)) as hub, linked(protocol, hub.address, port) as link:
            await answered(hub, submit(hub, 20))
            await eventually(lambda: len(port.outbox) == 0)
            await link.close()
            port.outbox.append(Outcome(Task("late", "act"), "success", OK))
            link.results_ready()
            link.slots_changed()
            async with asyncio.timeout(SOON_S):
                await link.stop_taking()
                assert await link.flush(0.1) is False
                await link.close()
            await asyncio.sleep(0.05)  # for something that must not happen
            assert (seen, len(port.outbox)) == ([], 1)

    uvloop.run(scenario())


# -- within the link -------------------------------------------------------------------------------------------------


def test_the_time_of_a_stream_that_raises_does_not_stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        raised, on_time = [Boom()], ProviderSession.on_time

        def faulty(session: ProviderSession, now: float) -> None:
            if raised:
                raise raised.pop()
            on_time(session, now)

        seen, port = unexpected(), Supervisor(answer=lambda task: None)
        async with EmbeddedHub(HubOptions(lease_s=0.6)) as hub, linked("stream", hub.address, port) as link:
            submit(hub, 1)
            await eventually(lambda: port.tasks)
            monkeypatch.setattr(ProviderSession, "on_time", faulty)
            await eventually(lambda: len(seen) == 1)
            renewals = kinds(hub, port.tasks[0].id).count("renewed")
            await eventually(lambda: kinds(hub, port.tasks[0].id).count("renewed") >= renewals + 3)
            assert "expired" not in kinds(hub, port.tasks[0].id)
            port.finish(Outcome(port.tasks[0], "success", OK))
            await ends(link, port)

    uvloop.run(scenario())


def kinds(hub: EmbeddedHub, task_id: str) -> list[str]:
    return [event.kind for event in hub.board.history(task_id)]


@errors
def test_a_fallback_that_cannot_be_had_is_asked_for_again(make_error: Callable[[], Exception]) -> None:
    """``auto`` at a hub without streams, where the unary link cannot be made at first."""

    async def scenario(address: str) -> None:
        raised = make_error()
        left = [raised]
        told = LinkOptions(url=address, provider="prov")

        def make_unary() -> HubLink:
            if left:
                raise left.pop()
            return GrpcUnaryLink(told, logger=Log())

        seen, port = unexpected(), Supervisor()
        link = port.link = AutoLink(told, make_unary, logger=Log())
        await link.start(port)
        async with EmbeddedHub(HubOptions(address=address, stream=False, hold_s=0.1)) as hub:
            await answered(hub, submit(hub, 10))
            assert seen == ([raised] if make_error is Boom else [])
            await ends(link, port)
            async with asyncio.timeout(SOON_S):
                await link.close()

    uvloop.run(scenario(f"127.0.0.1:{free_port()}"))


@protocols
def test_a_link_whose_loop_ends_without_a_close_does_not_hold_it_up(protocol: str) -> None:
    """Its coroutines are cancelled by whoever ends the loop, and by nobody else."""

    async def scenario(address: str) -> None:
        port = Supervisor()
        link = port.link = MAKE[protocol](LinkOptions(url=address, provider="prov"), logger=Log())
        await link.start(port)
        await asyncio.sleep(0.1)

    begin = time.monotonic()
    uvloop.run(scenario(f"127.0.0.1:{free_port()}"))
    assert time.monotonic() - begin < SOON_S
