"""Whatever happens to the hub or the way to it: no result is lost or swapped, nobody is hammered, work goes on."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from typing import Any

import grpc
import pytest
import uvloop
from hub_support import (
    OK,
    Context,
    Log,
    ScriptedHub,
    SilentProxy,
    Supervisor,
    eventually,
    free_port,
    running_link,
    tasks_once,
)

from arbd.hub.board import NewTask
from arbd.hub.client import HubClient
from arbd.hub.process import HubProcess
from arbd.hub.server import EmbeddedHub, HubOptions
from arbd.model.task import Outcome, Task
from arbd.wire.pb import hub_pb2 as pb


def test_a_hub_that_is_down_at_the_start() -> None:
    async def scenario() -> None:
        address = f"127.0.0.1:{free_port()}"
        log, supervisor = Log(), Supervisor()
        async with running_link(address, supervisor, log=log) as link:
            await eventually(lambda: link.stats.failures["GetTask UNAVAILABLE"] >= 3)
            assert link.stats.state == "down"
            async with EmbeddedHub(HubOptions(address=address)), HubClient(address) as client:
                batch = await client.submit([NewTask("a")])
                assert [result.status async for result in client.results(batch.name)] == ["success"]
                await link.stop_taking()
        assert log.events() == ["hub_unavailable", "hub_connected"]  # once each, not once per attempt

    uvloop.run(scenario())


def test_a_hub_that_is_killed_and_started_again() -> None:
    async def scenario(hub: HubProcess) -> None:
        supervisor = Supervisor(answer=lambda task: None)
        async with running_link(hub.address, supervisor) as link:
            async with HubClient(hub.address) as client:
                await client.submit([NewTask("a", id="old")])
                await eventually(lambda: supervisor.tasks)
            hub.process.kill()
            hub.process.wait()
            supervisor.finish(Outcome(supervisor.tasks[0], "success", OK))
            await eventually(lambda: link.stats.failures["SubmitTaskResult UNAVAILABLE"] >= 2)
            assert len(supervisor.outbox) == 1
            with HubProcess(address=hub.address):
                # The new hub does not know the task, and says so: only then does the result go.
                await eventually(lambda: link.stats.dropped == 1)
                assert len(supervisor.outbox) == 0
                async with HubClient(hub.address) as client:
                    await client.submit([NewTask("a", id="new")])
                    await eventually(lambda: len(supervisor.tasks) == 2)

    with HubProcess(address=f"127.0.0.1:{free_port()}") as hub:
        uvloop.run(scenario(hub))


def test_a_half_open_connection_is_replaced_after_the_deadline() -> None:
    async def scenario() -> None:
        supervisor = Supervisor()
        async with EmbeddedHub(HubOptions(lease_s=0.5)) as hub, SilentProxy(hub.address) as proxy:
            patience: dict[str, Any] = {
                "long_poll_s": 0.2,
                "poll_margin_s": 0.2,
                "ask_hold_s": 0.1,
                "submit_timeout_s": 0.4,
            }
            async with running_link(proxy.address, supervisor, **patience) as link:
                await eventually(lambda: link.stats.empty >= 1)
                assert proxy.connections == 1
                proxy.freeze()
                async with HubClient(hub.address) as client:
                    batch = await client.submit([NewTask("a") for _ in range(20)])
                    statuses = [result.status async for result in client.results(batch.name)]
                assert statuses == ["success"] * 20
                assert link.stats.reconnects == 1
                assert proxy.connections == 2

    uvloop.run(scenario())


def test_a_hub_that_hangs_gets_the_result_when_it_goes_on() -> None:
    async def scenario(hub: HubProcess) -> None:
        supervisor = Supervisor(answer=lambda task: None)
        async with (
            HubClient(hub.address) as client,
            running_link(hub.address, supervisor, submit_timeout_s=0.2) as link,
        ):
            batch = await client.submit([NewTask("a")])
            await eventually(lambda: supervisor.tasks)
            hub.process.send_signal(signal.SIGSTOP)
            supervisor.finish(Outcome(supervisor.tasks[0], "success", OK))
            await eventually(lambda: link.stats.failures["SubmitTaskResult DEADLINE_EXCEEDED"] >= 1)
            assert len(supervisor.outbox) == 1
            hub.process.send_signal(signal.SIGCONT)
            [result] = [result async for result in client.results(batch.name)]
            assert result.status == "success"
            await eventually(lambda: len(supervisor.outbox) == 0)

    with HubProcess(hold_s=0.5) as hub:
        uvloop.run(scenario(hub))


def test_a_failed_submit_is_retried_with_the_same_result_and_no_other() -> None:
    """Regression: the predecessor reported an error for the task before, and replaced a success by an error."""

    async def scenario() -> None:
        async def submit(hub: ScriptedHub, message: pb.TaskResult, context: Context) -> bytes:
            if sum(1 for result in hub.results if result.id == message.id) == 1:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "try again")
            return b""

        ids = [str(number) for number in range(20)]
        supervisor = Supervisor(answer=lambda task: Outcome(task, "success", f'{{"of":"{task.id}"}}'.encode()))
        async with ScriptedHub(tasks_once(*ids), submit) as hub, running_link(hub.address, supervisor) as link:
            await eventually(lambda: link.stats.accepted == 20)
            sent: dict[str, list[tuple[str, str]]] = defaultdict(list)
            for result in hub.results:
                sent[result.id].append((result.status, result.result))
            assert sent == {task_id: [("success", f'{{"of":"{task_id}"}}')] * 2 for task_id in ids}

    uvloop.run(scenario())


def test_a_failed_poll_reports_nothing() -> None:
    """Regression: the predecessor answered the task before, a second time, when a call failed."""

    async def scenario() -> None:
        async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
            if hub.polls == 1:
                return pb.Task(id="1", action="a").SerializeToString()
            await context.abort(grpc.StatusCode.INTERNAL, "broken")
            raise AssertionError

        supervisor = Supervisor()
        async with ScriptedHub(get_task) as hub, running_link(hub.address, supervisor) as link:
            await eventually(lambda: link.stats.failures["GetTask INTERNAL"] >= 3)
            assert [(result.id, result.status) for result in hub.results] == [("1", "success")]

    uvloop.run(scenario())


def test_a_refused_token_is_hardly_ever_sent() -> None:
    """Regression: the predecessor reconnected at once, for ever. The interval is shortened from 31 s to 0.5 s."""

    async def scenario() -> None:
        log, supervisor = Log(), Supervisor()
        async with EmbeddedHub(HubOptions(tokens=["right"])) as hub:
            options: dict[str, Any] = {"token": "wrong-token", "refused_interval_s": 0.5}
            async with running_link(hub.address, supervisor, log=log, **options) as link:
                supervisor.outbox.append(Outcome(Task("1", "a"), "success", OK))
                begin = time.monotonic()
                link.results_ready()
                await eventually(lambda: hub.calls["refused"] >= 4)
                elapsed_s = time.monotonic() - begin
                # Both methods may have sent one call in good faith before the first refusal.
                assert hub.calls["refused"] <= 2 + elapsed_s / 0.5
                assert elapsed_s >= 0.99
                assert len(supervisor.outbox) == 1
                assert link.stats.state == "refused"
        assert log.events() == ["hub_refuses_token"]
        assert "wrong-token" not in str(log.lines)

    uvloop.run(scenario())


def test_work_goes_on_when_the_token_is_accepted_again() -> None:
    async def scenario() -> None:
        accepted = False

        async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
            if not accepted:
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"bad token {request.auth_token}")
            return await tasks(hub, request, context)

        tasks = tasks_once("1", "2")
        log, supervisor = Log(), Supervisor()
        async with (
            ScriptedHub(get_task) as hub,
            running_link(hub.address, supervisor, log=log, token="s3cret", refused_interval_s=0.2),
        ):
            await eventually(lambda: hub.polls >= 2)
            accepted = True
            await eventually(lambda: len(hub.results) == 2)
        assert log.events() == ["hub_refuses_token", "hub_connected"]
        assert log.lines[0][2]["details"] == "bad token ***"

    uvloop.run(scenario())


def test_one_result_the_hub_chokes_on_does_not_hold_up_the_others() -> None:
    async def scenario() -> None:
        async def submit(hub: ScriptedHub, message: pb.TaskResult, context: Context) -> bytes:
            if message.id == "0":
                await context.abort(grpc.StatusCode.INTERNAL, "cannot store this")
            return b""

        ids = [str(number) for number in range(30)]
        supervisor = Supervisor()
        async with ScriptedHub(tasks_once(*ids), submit) as hub, running_link(hub.address, supervisor) as link:
            await eventually(lambda: link.stats.accepted == 29)
            assert len(supervisor.outbox) == 1
            assert hub.polls > 0
        kept = supervisor.outbox.take()  # close() gives it back
        assert kept is not None
        assert kept.task.id == "0"

    uvloop.run(scenario())


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT])
def test_a_result_the_hub_never_accepts_is_dropped_and_logged(code: grpc.StatusCode) -> None:
    async def scenario() -> None:
        async def submit(hub: ScriptedHub, message: pb.TaskResult, context: Context) -> bytes:
            await context.abort(code, "no such task")
            raise AssertionError

        log, supervisor = Log(), Supervisor()
        async with ScriptedHub(tasks_once("1"), submit) as hub, running_link(hub.address, supervisor, log=log) as link:
            await eventually(lambda: link.stats.dropped == 1)
            assert (len(hub.results), len(supervisor.outbox)) == (1, 0)
        [words] = [words for _, event, words in log.lines if event == "result_refused_for_good"]
        assert words == {
            "code": code.name, "details": "no such task", "task_id": "1", "action": "act", "status": "success",
        }  # fmt: skip

    uvloop.run(scenario())


def test_a_reply_that_is_no_message_ends_nothing() -> None:
    async def scenario() -> None:
        tasks = tasks_once("1")

        async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
            return b"\xff\xff\xff" if hub.polls <= 2 else await tasks(hub, request, context)

        supervisor = Supervisor()
        async with ScriptedHub(get_task) as hub, running_link(hub.address, supervisor) as link:
            await eventually(lambda: hub.results)
            assert link.stats.failures == {"GetTask INTERNAL": 2}

    uvloop.run(scenario())


def test_a_flush_at_a_dead_hub_gives_up_and_keeps_the_results() -> None:
    async def scenario() -> None:
        supervisor = Supervisor()
        async with running_link(f"127.0.0.1:{free_port()}", supervisor) as link:
            for number in range(3):
                supervisor.outbox.append(Outcome(Task(str(number), "a"), "success", OK))
            link.results_ready()
            await link.stop_taking()
            assert await link.flush(0.2) is False
        kept = [supervisor.outbox.take() for _ in range(4)]
        assert sorted(outcome.task.id for outcome in kept if outcome) == ["0", "1", "2"]

    uvloop.run(scenario())


def test_results_that_wait_go_out_when_the_hub_is_there_again() -> None:
    async def scenario() -> None:
        address = f"127.0.0.1:{free_port()}"
        supervisor = Supervisor()
        async with running_link(address, supervisor) as link:
            for number in range(100):
                supervisor.outbox.append(Outcome(Task(str(number), "a"), "success", OK))
            link.results_ready()
            await eventually(lambda: link.stats.failures["SubmitTaskResult UNAVAILABLE"] >= 2)
            async with ScriptedHub(tasks_once(), address=address) as hub:
                await eventually(lambda: len(supervisor.outbox) == 0)
                assert sorted(int(result.id) for result in hub.results) == list(range(100))

    uvloop.run(scenario())
