"""The unary link over real sockets: tasks in, results out, never more polls than slots, and an orderly stop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import uvloop
from hub_support import OK, Context, ScriptedHub, Supervisor, eventually, running_link, tasks_once

from arbd.hub.board import NewTask
from arbd.hub.client import HubClient
from arbd.hub.process import HubProcess
from arbd.hub.server import EmbeddedHub, HubOptions
from arbd.model.task import Outcome, Task
from arbd.wire.pb import hub_pb2 as pb


def test_every_task_gets_exactly_its_own_result() -> None:
    async def scenario(address: str) -> None:
        def answer(task: Task) -> Outcome:
            return Outcome(task, "success", b'{"status":"success","data":' + task.payload + b"}")

        async with HubClient(address) as client, running_link(address, Supervisor(8, answer)) as link:
            batch = await client.submit(NewTask("echo", b'{"n":%d}' % number) for number in range(300))
            results = {result.id: result async for result in client.results(batch.name)}
            numbers = [results[task_id].response["data"]["n"] for task_id in batch.ids]
            assert numbers == list(range(300))
            kinds = [event.kind for event in await client.history(batch.ids[7])]
            assert kinds == ["submitted", "handed_out", "result"]
            assert (link.stats.tasks, link.stats.accepted, link.stats.state) == (300, 300, "up")
            assert link.stats.failures == {}

    with HubProcess(hold_s=1.0, tokens=[]) as hub:
        uvloop.run(scenario(hub.address))


def test_polls_never_exceed_the_free_slots() -> None:
    async def scenario() -> None:
        async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
            await asyncio.sleep(0.01)
            return pb.Task(id=f"t{hub.polls}", action="a").SerializeToString()

        supervisor = Supervisor(slots=5, answer=lambda task: None)
        async with ScriptedHub(get_task) as hub, running_link(hub.address, supervisor):
            await eventually(lambda: len(supervisor.tasks) == 5)
            polls = hub.polls
            await asyncio.sleep(0.1)  # for something that must not happen: a poll without a slot
            assert (hub.polls, len(supervisor.tasks)) == (polls, 5) == (5, 5)
            supervisor.finish(Outcome(supervisor.tasks[0], "success", OK))
            await eventually(lambda: len(supervisor.tasks) == 6)
            assert hub.polls_at_most <= 5

    uvloop.run(scenario())


def test_polls_ramp_up_to_their_limit_while_tasks_come() -> None:
    async def scenario() -> None:
        async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
            await asyncio.sleep(0.02)
            return pb.Task(id=f"t{hub.polls}", action="a").SerializeToString()

        async with ScriptedHub(get_task) as hub, running_link(hub.address, Supervisor(), max_polls=8):
            await eventually(lambda: hub.polls_at_most == 8)
            await eventually(lambda: hub.polls > 100)
            assert hub.polls_at_most == 8

    uvloop.run(scenario())


@pytest.mark.parametrize("no_task", ["empty", "not_found"])
def test_an_idle_hub_that_answers_at_once_is_polled_gently(no_task: str) -> None:
    async def scenario() -> None:
        options = HubOptions(hold_s=0, no_task=no_task)
        async with EmbeddedHub(options) as hub, running_link(hub.address, Supervisor(), idle_min_s=0.05) as link:
            await asyncio.sleep(1.0)  # the length of the observation
            assert 2 <= hub.calls["GetTask"] <= 40
            assert link.stats.failures == {}
            assert link.stats.state == "up"

    uvloop.run(scenario())


def test_every_call_has_a_deadline() -> None:
    """Regression: the predecessor's calls had none, and a half-open connection hung it for ever."""

    async def scenario() -> None:
        supervisor = Supervisor()
        async with (
            ScriptedHub(tasks_once("1")) as hub,
            running_link(hub.address, supervisor, long_poll_s=30, submit_timeout_s=7),
        ):
            await eventually(lambda: hub.results)
            poll, submit = hub.times_left["GetTask"], hub.times_left["SubmitTaskResult"]
            assert poll == pytest.approx(40, abs=0.5)
            assert submit == pytest.approx(7, abs=0.5)
            assert hub.metadata["arbd-long-poll-ms"] == "1000"

    uvloop.run(scenario())


def test_a_stop_waits_for_polls_and_takes_what_they_bring() -> None:
    async def scenario() -> None:
        release = asyncio.Event()

        async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
            await release.wait()
            return pb.Task(id="last", action="a").SerializeToString()

        supervisor = Supervisor()
        async with ScriptedHub(get_task) as hub, running_link(hub.address, supervisor) as link:
            await eventually(lambda: hub.polls == 1)
            stopping = asyncio.create_task(link.stop_taking())
            await asyncio.sleep(0.05)  # for something that must not happen: a stop that does not wait
            assert not stopping.done()
            release.set()
            await stopping
            assert [task.id for task in supervisor.tasks] == ["last"]
            assert await link.flush(5.0)
            assert [result.id for result in hub.results] == ["last"]
            assert hub.polls == 1

    uvloop.run(scenario())


def test_an_idle_stop_at_the_embedded_hub_is_short() -> None:
    async def scenario() -> None:
        async with EmbeddedHub(HubOptions(hold_s=20)) as hub, running_link(hub.address, Supervisor()) as link:
            await eventually(lambda: hub.calls["GetTask"])
            begin = time.monotonic()
            await link.stop_taking()
            assert time.monotonic() - begin < 2.0

    uvloop.run(scenario())


def test_the_answer_to_a_result_is_ignored() -> None:
    async def scenario() -> None:
        options = HubOptions(submit_reply="echo", lease_s=0.2)
        supervisor = Supervisor()
        async with EmbeddedHub(options) as hub, running_link(hub.address, supervisor, max_polls=1):
            async with HubClient(hub.address) as client:
                batch = await client.submit([NewTask("a") for _ in range(3)])
                assert [result.status async for result in client.results(batch.name)] == ["success"] * 3
            assert sorted(task.id for task in supervisor.tasks) == sorted(batch.ids)

    uvloop.run(scenario())


def test_a_payload_that_is_not_utf8_is_echoed() -> None:
    async def scenario() -> None:
        async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
            if hub.polls == 1:
                return pb.Task(id="1", action="a", payload=b"\xff\xfe{", account=b"\x80").SerializeToString()
            await asyncio.sleep(0.05)
            return b""

        supervisor = Supervisor()
        async with ScriptedHub(get_task) as hub, running_link(hub.address, supervisor):
            await eventually(lambda: hub.results)
            assert supervisor.tasks[0].payload == b"\xff\xfe{"
            assert (hub.results[0].payload, hub.results[0].account) == ("\ufffd\ufffd{", "\ufffd")

    uvloop.run(scenario())


@pytest.mark.parametrize("known_limit", [20_000, 10**9])
def test_a_result_too_large_for_the_hub_becomes_an_error(known_limit: int) -> None:
    """Whether the limit is known before (the first) or only the hub knows it (the second)."""

    async def scenario() -> None:
        async with EmbeddedHub(HubOptions(max_message=20_000)) as hub, HubClient(hub.address) as client:
            supervisor = Supervisor(answer=lambda task: Outcome(task, "success", b"x" * 30_000))
            async with running_link(hub.address, supervisor, max_message=known_limit) as link:
                batch = await client.submit([NewTask("a")])
                [result] = [result async for result in client.results(batch.name)]
                assert result.status == "error"
                assert result.response["data"]["error_code"] == "RESULT_TOO_LARGE"
                assert result.response["data"]["size"] == 30_000
                assert (link.stats.shortened, link.stats.dropped) == (1, 0)

    uvloop.run(scenario())


def test_a_payload_too_large_to_be_echoed_does_not_cost_the_success() -> None:
    async def scenario() -> None:
        async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
            if hub.polls == 1:
                return pb.Task(id="1", action="a", payload=b"y" * 20_000_000).SerializeToString()
            await asyncio.sleep(0.05)
            return b""

        supervisor = Supervisor()
        async with ScriptedHub(get_task) as hub, running_link(hub.address, supervisor):
            await eventually(lambda: hub.results)
            assert len(supervisor.tasks[0].payload) == 20_000_000
            assert (hub.results[0].status, hub.results[0].payload) == ("success", "")

    uvloop.run(scenario())


@pytest.mark.parametrize("turns", [0, 1, 3, 8])
def test_closing_while_results_are_being_sent_leaves_every_other_one_in_the_outbox(turns: int) -> None:
    problems: list[object] = []

    def note(_: object, context: dict[str, Any]) -> None:
        if "PollerCompletionQueue" not in context["message"]:  # gRPC's own, of loops that tests before have closed
            problems.append(context)

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(note)

        async def never(hub: ScriptedHub, message: pb.TaskResult, context: Context) -> bytes:
            await asyncio.sleep(600)
            return b""

        supervisor = Supervisor()
        hub = ScriptedHub(tasks_once(), never)
        async with hub, running_link(hub.address, supervisor, max_submits=8) as link:
            for number in range(60):
                supervisor.outbox.append(Outcome(Task(str(number), "act"), "success", OK))
            link.results_ready()
            for _ in range(turns):
                await asyncio.sleep(0)
        left = [outcome.task.id for _ in range(60) if (outcome := supervisor.outbox.take()) is not None]
        assert sorted(left, key=int) == [str(number) for number in range(60)]

    uvloop.run(scenario())
    assert problems == []
