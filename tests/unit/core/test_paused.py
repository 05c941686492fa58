"""Tasks of a paused action wait in order and within bounds, and are given out once."""

from __future__ import annotations

import pytest

from arbd.core import paused
from arbd.core.paused import PausedActions
from arbd.model.task import Task


@pytest.fixture
def actions() -> PausedActions:
    actions = PausedActions()
    assert actions.pause("act", 10.0)
    return actions


def ids(tasks: list[Task]) -> list[str]:
    return [task.id for task in tasks]


def test_tasks_come_out_in_the_order_they_came(actions: PausedActions) -> None:
    assert all(actions.keep(Task(task_id, "act")) for task_id in "abc")
    assert actions.waiting == 3
    assert ids(actions.resume("act")) == ["a", "b", "c"]
    assert (actions.waiting, list(actions), actions.resume("act")) == (0, [], [])


def test_a_second_pause_changes_nothing(actions: PausedActions) -> None:
    actions.keep(Task("a", "act"))
    assert not actions.pause("act", 20.0)
    assert list(actions.describe(15.0)) == [("act", 1, 0, 5.0)]


def test_one_action_fills_its_own_line_only(actions: PausedActions) -> None:
    actions.pause("other", 10.0)
    assert all(actions.keep(Task(str(n), "act")) for n in range(paused.MOST_TASKS))
    assert not actions.keep(Task("more", "act"))
    assert actions.keep(Task("a", "other"))
    actions.note_refused("act")
    assert [line[:3] for line in actions.describe(10.0)] == [("act", paused.MOST_TASKS, 1), ("other", 1, 0)]


def test_large_tasks_are_bounded_by_their_bytes(actions: PausedActions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paused, "MOST_BYTES", 10)
    assert actions.keep(Task("a", "act", b"12345", b"678"))
    assert not actions.keep(Task("b", "act", b"123"))
    actions.take_out(lambda task: task.id == "a")
    assert actions.keep(Task("b", "act", b"123"))


def test_nothing_is_kept_while_it_is_closed(actions: PausedActions) -> None:
    actions.is_closed = True
    assert not actions.keep(Task("a", "act"))
    actions.is_closed = False
    assert actions.keep(Task("a", "act"))


def test_what_is_late_makes_room(actions: PausedActions) -> None:
    actions.keep(Task("a", "act", deadline=20.0))
    actions.keep(Task("b", "act", deadline=30.0))
    actions.keep(Task("c", "act"))
    assert actions.take_late(19.0) == []
    assert ids(actions.take_late(20.0)) == ["a"]
    assert ids(actions.take_late(31.0)) == ["b"]
    assert actions.take_late(1e9) == []
    assert actions.waiting == 1


def test_a_task_is_known_by_itself_not_by_its_id(actions: PausedActions) -> None:
    task = Task("a", "act")
    actions.keep(task)
    assert actions.has_task(task)
    assert not actions.has_task(Task("a", "act"))


def test_an_action_that_runs_has_no_count(actions: PausedActions) -> None:
    actions.note_refused("unknown")
    assert "unknown" not in actions
