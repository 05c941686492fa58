"""What an operator asks for is done when the answer is given; who follows a drain is told how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flow_support import Rig, tasks
from stepped_loop import SteppedLoop

from arbd.control import protocol
from arbd.control.protocol import Done, Failure, OperationReply
from arbd.control.reports import Operation
from arbd.logs import notable
from arbd.model.task import Task
from arbd.supervisor.commands import Commands
from arbd.supervisor.operations import Operations
from arbd.supervisor.steering import Refused, Steering


class Steered(Rig):
    """A daemon with two workers; its link's polls end when ``polls`` is set, or by what ``stop_fails`` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stepped = SteppedLoop()
        super().__init__(monkeypatch, workers=2, loop=self.stepped)
        self.stats = SimpleNamespace(state="up", protocol="stream")
        self.set_actions("act", "other")
        self.is_stopping = False
        self.polls = asyncio.Event()
        self.stop_fails: BaseException | None = None
        self.steering = Steering(self.flow, lambda: self.is_stopping, 0.25)
        self.before = notable.recent()[-1].number if notable.recent() else 0

    async def stop_taking(self) -> None:
        self.told.append("stop")
        if self.stop_fails is not None:
            raise self.stop_fails
        await self.polls.wait()

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            self.flow.progress = asyncio.Event()
            self.told.clear()
            self.steering.link_started()
            self.operations = Operations()
            nothing: Any = None
            commands = Commands(self.flow, nothing, nothing, self.operations, self.steering, nothing, nothing, nothing)
            self.handlers = commands.handlers()
            await scenario()
            await self.operations.close()
            self.steering.close()
            self.flow.close()
            await asyncio.sleep(0)

        self.stepped.run(run())

    def ask(self, request: Any) -> Any:
        return self.handlers[type(request)](request)

    def drain(self) -> Operation:
        reply = self.ask(protocol.DrainDaemon())
        assert isinstance(reply, OperationReply)
        return reply.operation

    async def ended(self, operation: Operation) -> Operation:
        for _ in range(100):
            reply = self.ask(protocol.GetOperation(id=operation.id))
            if reply.operation.state != "running":
                found: Operation = reply.operation
                return found
            await asyncio.sleep(0.05)
        raise AssertionError("it does not end")

    def sends(self) -> None:
        """The workers answer, and the hub takes all results."""
        for worker in self.workers:
            worker.answer()
        self.flow.collect()
        self.results()

    def state(self) -> str | None:
        return self.steering.state

    def noted(self) -> list[str]:
        return [each.event for each in notable.recent(self.before)]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steered]:
    rig = Steered(monkeypatch)
    yield rig
    rig.stepped.close()


# -- drain -----------------------------------------------------------------------------------------------------------


def test_a_drain_is_over_when_polls_tasks_and_results_are(rig: Steered) -> None:
    async def scenario() -> None:
        rig.flow.take(tasks("a", "b"))
        operation = rig.drain()
        assert (operation.state, operation.text) == ("running", "2 tasks and 0 results left")
        await asyncio.sleep(1.0)
        assert rig.told == ["stop"]
        assert rig.state() == "draining"
        rig.sends()
        await asyncio.sleep(1.0)
        said = rig.ask(protocol.GetOperation(id=operation.id)).operation
        assert (said.state, said.done, said.total) == ("running", 2, 2)
        assert "waiting for the polls" in said.text
        rig.polls.set()
        ended = await rig.ended(operation)
        assert (ended.state, ended.done, ended.total) == ("done", 2, 2)
        assert rig.steering.state == "drained"
        assert rig.noted() == ["drain_asked", "drained"]

    rig.run(scenario)


def test_tasks_that_polls_bring_are_finished_as_well(rig: Steered) -> None:
    async def scenario() -> None:
        operation = rig.drain()
        await asyncio.sleep(0.5)
        rig.flow.take(tasks("late"))
        rig.polls.set()
        await asyncio.sleep(0.5)
        assert rig.state() == "draining"
        rig.sends()
        assert (await rig.ended(operation)).state == "done"

    rig.run(scenario)


def test_a_result_that_the_hub_does_not_take_is_waited_for_and_said(rig: Steered) -> None:
    async def scenario() -> None:
        rig.polls.set()
        rig.flow.take([Task("a", "unknown")])
        rig.stats.state = "down"
        operation = rig.drain()
        await asyncio.sleep(5.0)
        said = rig.ask(protocol.GetOperation(id=operation.id)).operation
        assert (said.state, said.text) == ("running", "0 tasks and 1 result left (the hub is down)")
        rig.results()
        assert (await rig.ended(operation)).state == "done"

    rig.run(scenario)


def test_asked_twice_it_is_one_drain_and_afterwards_it_is_over_at_once(rig: Steered) -> None:
    async def scenario() -> None:
        first, second = rig.drain(), rig.drain()
        assert first.id == second.id
        rig.polls.set()
        await rig.ended(first)
        third = rig.drain()
        assert third.id != first.id
        assert (await rig.ended(third)).state == "done"
        assert rig.told.count("stop") == 1

    rig.run(scenario)


def test_a_resume_in_the_middle_ends_it_as_failed(rig: Steered) -> None:
    async def scenario() -> None:
        rig.flow.take(tasks("a"))
        operation = rig.drain()
        await asyncio.sleep(0.3)
        assert rig.ask(protocol.Resume()) == Done(text="the daemon takes tasks again")
        ended = await rig.ended(operation)
        assert (ended.state, ended.text) == ("failed", "the daemon was resumed before it was drained")
        assert rig.told == ["stop", "again"]
        assert rig.steering.state is None

    rig.run(scenario)


def test_a_drain_after_the_resume_waits_for_polls_anew(rig: Steered) -> None:
    async def scenario() -> None:
        rig.polls.set()
        await rig.ended(rig.drain())
        rig.ask(protocol.Resume())
        rig.polls.clear()
        operation = rig.drain()
        await asyncio.sleep(1.0)
        assert rig.steering.state == "draining"
        rig.polls.set()
        assert (await rig.ended(operation)).state == "done"

    rig.run(scenario)


def test_before_there_is_a_link_it_is_told_when_it_comes(rig: Steered) -> None:
    async def scenario() -> None:
        early = Steering(rig.flow, lambda: False, 0.25)
        early.drain()
        assert "stop" not in rig.told
        early.resume()
        early.drain()
        assert "again" not in rig.told
        early.link_started()
        await asyncio.sleep(0)
        assert rig.told.count("stop") == 1
        early.close()

    rig.run(scenario)


@pytest.mark.parametrize(("error", "reported"), [(OSError("none"), 0), (RuntimeError("injected"), 1)])
def test_a_link_that_cannot_stop_costs_no_task_and_ends_the_wait(rig: Steered, error: Exception, reported: int) -> None:
    async def scenario() -> None:
        rig.stop_fails = error
        assert (await rig.ended(rig.drain())).state == "done"
        assert len(rig.stepped.reported) == reported

    rig.run(scenario)


def test_tasks_of_paused_actions_are_sent_back(rig: Steered) -> None:
    async def scenario() -> None:
        rig.polls.set()
        rig.ask(protocol.PauseAction(action="act"))
        rig.flow.take(tasks("a"))
        operation = rig.drain()
        assert [outcome.status for outcome in rig.outcomes().values()] == ["limit"]
        rig.flow.take(tasks("b"))  # a poll has brought it
        assert [outcome.status for outcome in rig.outcomes().values()] == ["limit"]
        assert (await rig.ended(operation)).state == "done"
        text = rig.ask(protocol.Resume()).text
        assert text == "the daemon takes tasks again, and runs act again; 0 tasks had waited"

    rig.run(scenario)


def test_a_daemon_that_stops_is_not_steered(rig: Steered) -> None:
    async def scenario() -> None:
        rig.is_stopping = True
        for request in (
            protocol.DrainDaemon(),
            protocol.Resume(),
            protocol.Resume(action="act"),
            protocol.PauseAction(action="act"),
        ):
            reply = rig.ask(request)
            assert isinstance(reply, Failure)
            assert "stopping" in reply.message
        assert rig.steering.state == "draining"
        assert rig.told == []

    rig.run(scenario)


# -- pause and resume ------------------------------------------------------------------------------------------------


def test_a_pause_says_what_waits_and_a_resume_what_had(rig: Steered) -> None:
    async def scenario() -> None:
        assert rig.ask(protocol.PauseAction(action="act")).text.startswith("action act is paused; 0 tasks waiting")
        rig.flow.take(tasks("a"))
        assert "was paused already; 1 task waiting" in rig.ask(protocol.PauseAction(action="act")).text
        assert rig.sent == []
        assert rig.ask(protocol.Resume(action="act")).text == "action act runs again; 1 task had waited"
        assert rig.sent == ["a"]
        assert rig.ask(protocol.Resume(action="act")).text == "action act was not paused"
        assert rig.noted() == ["action_paused", "action_resumed"]

    rig.run(scenario)


def test_a_resume_of_everything_is_no_failure_where_there_is_nothing(rig: Steered) -> None:
    async def scenario() -> None:
        assert rig.ask(protocol.Resume()).text == "nothing was drained or paused"
        assert "again" not in rig.told

    rig.run(scenario)


@pytest.mark.parametrize(
    ("action", "hint"),
    [
        ("atc", "did you mean act?"),
        ("Other", "did you mean other?"),
        ("zzz", "there are act, other"),
        ("", "there are"),
    ],
)
def test_an_unknown_action_is_a_failure_that_helps(rig: Steered, action: str, hint: str) -> None:
    async def scenario() -> None:
        for request in (protocol.PauseAction(action=action), protocol.Resume(action=action)):
            reply = rig.ask(request)
            assert isinstance(reply, Failure)
            assert hint in reply.message
        assert list(rig.flow.paused) == []

    rig.run(scenario)


def test_what_an_attacker_names_is_shown_cut_and_escaped(rig: Steered) -> None:
    async def scenario() -> None:
        reply = rig.ask(protocol.PauseAction(action="\x1b[2J" + "x" * 60_000))
        assert "\x1b" not in reply.message
        assert len(reply.message) < 1000

    rig.run(scenario)


def test_an_action_that_is_gone_since_a_reload_can_be_resumed(rig: Steered) -> None:
    async def scenario() -> None:
        rig.ask(protocol.PauseAction(action="act"))
        rig.set_actions("other")
        assert "runs again" in rig.ask(protocol.Resume(action="act")).text
        assert list(rig.flow.paused) == []

    rig.run(scenario)


# -- kill ------------------------------------------------------------------------------------------------------------


def test_a_task_that_waits_is_answered_at_once(rig: Steered) -> None:
    async def scenario() -> None:
        rig.flow.take(tasks("1", "2", "waits"))
        rig.ask(protocol.PauseAction(action="other"))
        rig.flow.take([Task("paused", "other")])
        for task_id in ("waits", "paused"):
            assert "was waiting" in rig.ask(protocol.Kill(task_id=task_id)).text
            [given] = rig.results().values()
            assert "CANCELLED" in given
        assert rig.flow.in_flight() == 2

    rig.run(scenario)


def test_one_that_a_worker_has_is_cancelled_there(rig: Steered) -> None:
    async def scenario() -> None:
        rig.flow.take(tasks("a"))
        [worker] = [each for each in rig.workers if each.has]
        worker.begin("a")
        text = rig.ask(protocol.Kill(task_id="a")).text
        assert f"is with worker {worker.slot}" in text
        assert "0.25 s" in text
        assert worker.signals == 1
        [assignment] = rig.flow.dispatcher.outstanding(worker.id).values()
        since = assignment.cancelled_at_ns
        rig.stepped.now += 0.1
        rig.ask(protocol.Kill(task_id="a"))
        assert assignment.cancelled_at_ns == since, "it has no more time than before"
        assert rig.noted() == ["task_kill_asked", "task_kill_asked"]

    rig.run(scenario)


def test_one_that_has_its_result_or_is_not_known_is_a_failure(rig: Steered) -> None:
    async def scenario() -> None:
        rig.flow.take([Task("a", "unknown"), Task("", "act")])
        for task_id, why in (("a", "has its result already"), ("b", "no task b is here"), ("", "no task")):
            reply = rig.ask(protocol.Kill(task_id=task_id))
            assert isinstance(reply, Failure)
            assert why in reply.message
        assert rig.flow.in_flight() == 1, "a task without an id is nobody's"
        assert rig.noted() == []

    rig.run(scenario)


def test_refused_is_for_who_calls_without_a_socket_too(rig: Steered) -> None:
    async def scenario() -> None:
        with pytest.raises(Refused, match="there is no action"):
            rig.steering.pause("nothing")
        assert time.monotonic() == rig.stepped.now

    rig.run(scenario)
