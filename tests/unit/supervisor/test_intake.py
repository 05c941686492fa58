"""Whatever is raised while tasks are taken, each of them has its verdict or is with the dispatcher; and a task that
cannot be handed over goes back in line, for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from arbd.core.dispatch import Assignment, Dispatcher
from arbd.core.outbox import MemoryOutbox
from arbd.model.description import ActionInfo
from arbd.model.encoding import Encoder
from arbd.model.task import Task
from arbd.supervisor.intake import Intake
from arbd.supervisor.verdicts import Verdicts


class Rig:
    """An intake between a pool and a link that are this object, on a loop whose timers the test calls by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.timers: list[Callable[[], None]] = []
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.sent: list[str] = []
        self.woken: list[set[int]] = []
        self.told_of_slots = 0
        self.reported: list[BaseException] = []
        self.has_room = True
        self.error: dict[str, BaseException] = {}  # raised when a task of that id is sent
        self.outbox = MemoryOutbox()
        self.dispatcher = Dispatcher()
        me: Any = self
        encoder = Encoder(provider="p", timezone="UTC", utc_now=lambda: None, envelope="plain")  # type: ignore[arg-type,return-value] # without an envelope nobody asks for the time
        self.verdicts = Verdicts(self.outbox, encoder, me)
        settings: Any = SimpleNamespace(execution_timeout=1.0, max_payload=100, outbox_limit=100)
        self.intake = Intake(settings, self.dispatcher, me, me, self.verdicts, self.outbox, me, me, me)
        self.intake.set_actions(SimpleNamespace(actions=[ActionInfo("act", "", None, {}, None, "", False)]))  # type: ignore[arg-type] # all of it that is looked at
        for worker_id in (1, 2, 3):
            self.dispatcher.add_worker(worker_id)

    # -- the others

    def send(self, worker_id: int, assignment: Assignment) -> bool:
        if (error := self.error.get(assignment.task.id)) is not None:
            raise error
        if self.has_room:
            self.sent.append(assignment.task.id)
        return self.has_room

    def wake(self, workers: set[int]) -> None:
        self.woken.append(set(workers))

    def call_later(self, _: float, callback: Callable[[], None]) -> Any:
        self.timers.append(callback)
        return SimpleNamespace(cancel=lambda: None)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.reported.append(context["exception"])

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.timers.append(callback)

    def set_shortest(self, _: float) -> None: ...
    def on_dispatch(self, _: Any) -> None: ...
    def results_ready(self) -> None: ...

    def slots_changed(self) -> None:
        self.told_of_slots += 1

    # -- what came out

    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        timers, self.timers = self.timers, []
        for timer in timers:
            timer()

    def verdicts_given(self) -> dict[str, str]:
        found = {}
        while (outcome := self.outbox.take()) is not None:
            assert outcome.task.id not in found
            found[outcome.task.id] = outcome.result.decode()
        return found


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


def tasks(*ids: str) -> list[Task]:
    return [Task(each, "act") for each in ids]


@pytest.mark.parametrize("error", [RuntimeError("injected"), MemoryError(), KeyError("x")])
def test_something_unexpected_at_one_task_leaves_none_of_them_without_a_place(rig: Rig, error: Exception) -> None:
    rig.error["b"] = error
    with pytest.raises(type(error)):
        rig.intake.on_tasks(tasks("a", "b", "c", "d"))
    given = rig.verdicts_given()
    waiting = {each.task.id for each in rig.dispatcher.drop_everything()}
    assert (rig.sent, waiting) == (["a"], {"a", "b"})
    assert set(given) == {"c", "d"}
    assert all("ABORTED" in verdict for verdict in given.values())
    assert rig.woken == [{3}]  # the one that was sent something before


def test_what_has_its_verdict_gets_no_second_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.outbox, "append", lambda _: (_ for _ in ()).throw(RuntimeError("injected")))
    with pytest.raises(RuntimeError):
        rig.intake.on_tasks([Task("a", "unknown"), *tasks("b")])
    monkeypatch.undo()
    rig.verdicts.save_kept()
    given = rig.verdicts_given()
    assert "not found" in given.pop("a")
    assert set(given) <= {"b"}


def test_a_task_that_cannot_be_handed_over_is_tried_again_until_it_can(rig: Rig) -> None:
    rig.has_room = False
    rig.intake.on_tasks(tasks("a", "b"))
    for _ in range(50):
        rig.let_time_pass(0.05)
    assert (rig.sent, rig.verdicts_given()) == ([], {})
    rig.has_room = True
    rig.let_time_pass(0.05)
    assert sorted(rig.sent) == ["a", "b"]


def test_one_that_never_can_is_told_so_and_the_next_has_its_own_time(rig: Rig) -> None:
    rig.has_room = False
    rig.intake.on_tasks(tasks("a", "b"))
    for _ in range(110):
        rig.let_time_pass(0.05)
    assert {task_id: "NO_RESOURCES" in verdict for task_id, verdict in rig.verdicts_given().items()} == {"a": True}
    assert rig.told_of_slots == 1
    for _ in range(110):
        rig.let_time_pass(0.05)
    assert set(rig.verdicts_given()) == {"b"}


def test_one_that_the_machine_will_never_take_is_told_why_and_the_next_goes_on(rig: Rig) -> None:
    rig.error["a"] = OSError(27, "File too large")
    rig.intake.on_tasks(tasks("a", "b"))
    rig.let_time_pass(0.05)
    assert rig.sent == ["b"]
    given = rig.verdicts_given()
    assert set(given) == {"a"}
    assert "NO_RESOURCES" in given["a"]
    assert "File too large" in given["a"]


def test_time_in_which_no_worker_had_room_does_not_count(rig: Rig) -> None:
    rig.has_room = False
    rig.intake.on_tasks(tasks("a"))
    rig.now += 60  # nobody tried
    rig.let_time_pass(0.05)
    rig.has_room = True
    rig.let_time_pass(0.05)
    assert (rig.sent, rig.verdicts_given()) == (["a"], {})


def test_a_deadline_is_looked_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks it may pass, and a task would be said to have timed out after less than nothing."""
    clock = iter([100.0, 100.5])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    rig.intake.on_tasks([Task("a", "act", deadline=100.2)])
    [assignment] = rig.dispatcher.drop_everything()
    assert assignment.timeout == pytest.approx(0.2)


def test_verdicts_that_fail_when_something_unexpected_happened_keep_no_other_from_its_own(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, failures = rig.outbox.append, iter([RuntimeError("injected"), RuntimeError("injected")])

    def flaky(outcome: Any) -> None:
        for error in failures:
            raise error
        append(outcome)

    monkeypatch.setattr(rig.outbox, "append", flaky)
    with pytest.raises(RuntimeError):
        rig.intake.on_tasks([Task(str(n), "unknown") for n in range(5)])
    rig.verdicts.save_kept()
    assert set(rig.verdicts_given()) == {"0", "1", "2", "3", "4"}
