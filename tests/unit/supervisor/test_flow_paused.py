"""Of a paused action nothing begins, whatever way its tasks come; other actions and the hub's credit do not feel it."""

from __future__ import annotations

from typing import Any

import pytest
from flow_support import Rig, rig, tasks

from arbd.core import paused
from arbd.ipc import frame, notice
from arbd.model.task import Task
from arbd.supervisor import halt

__all__ = ["rig"]


def others(*ids: str) -> list[Task]:
    return [Task(task_id, "other") for task_id in ids]


@pytest.fixture
def two(rig: Rig) -> Rig:
    """It has two actions, act and other."""
    rig.set_actions("act", "other")
    rig.told.clear()
    return rig


def pause(rig: Rig, action: str = "act") -> bool:
    return halt.pause(rig.flow, action)


def kept(rig: Rig) -> int:
    return rig.flow.paused.waiting


def test_tasks_that_come_wait_and_others_run(two: Rig) -> None:
    assert pause(two)
    free = two.flow.free_slots()
    two.flow.take([*tasks("a", "b"), *others("x")])
    assert two.sent == ["x"]
    assert (kept(two), two.flow.in_flight(), two.results()) == (2, 3, {})
    assert two.flow.free_slots() == free - 1, "what waits takes no slot"


def test_when_it_is_resumed_they_run_in_order_and_the_link_is_told(two: Rig) -> None:
    pause(two)
    two.flow.take(tasks("a", "b"))
    two.told.clear()
    assert two.flow.resume("act") == 2
    assert [each.task.id for worker in reversed(two.workers) for each in worker.has] == ["a", "b"]
    assert "slots" in two.told
    two.flow.take(tasks("c"))
    assert "c" in two.sent


def test_what_waited_for_a_worker_waits_for_the_resume(two: Rig) -> None:
    two.flow.take(others("1", "2", "3"))  # each worker has one, of an unknown length
    two.flow.take([*tasks("a"), *others("x"), *tasks("b")])
    assert two.flow.dispatcher.backlog == 3
    pause(two)
    assert (two.flow.dispatcher.backlog, kept(two)) == (1, 2)
    assert two.waiting() == {"1", "2", "3", "x"}


def test_what_lies_in_rings_comes_back_and_what_runs_goes_on(two: Rig) -> None:
    two.learn_that_tasks_are_short()
    two.flow.take(tasks("a", "b", "c"))
    [worker] = [each for each in two.workers if each.has]
    worker.begin("a")
    pause(two)
    assert kept(two) == 2
    assert [each.task.id for each in two.flow.dispatcher.outstanding(worker.id).values()] == ["a"]
    worker.answer("a")
    two.flow.collect()
    assert two.results() == {"a": '{"n":1}'}
    assert kept(two) == 2


def test_a_task_that_its_worker_says_it_skipped_waits_with_the_others(two: Rig) -> None:
    two.flow.take(tasks("a"))
    [worker] = [each for each in two.workers if each.has]
    assignment = worker.begin("a")
    pause(two)
    assert kept(two) == 0
    worker.has.clear()
    worker.cell.records = [frame.encode_skipped(assignment.seq)]
    two.flow.collect()
    assert kept(two) == 1


def test_so_do_those_of_a_worker_that_leaves(two: Rig) -> None:
    two.flow.take(tasks("a"))
    [worker] = [each for each in two.workers if each.has]
    two.flow.pause("act")  # before its ring was looked at
    body = notice.encode(notice.Leaving("told"))
    worker.cell.records = [frame.encode_notice(body)]
    two.flow.collect()
    assert (kept(two), two.results()) == (1, {})


def test_a_worker_whose_ring_fails_keeps_none_of_the_others_from_being_looked_at(
    two: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.flow.take(tasks("a", "b"))
    looked: list[int] = []

    def fails(_flow: Any, worker: Any) -> None:
        looked.append(worker.id)
        raise RuntimeError("injected")

    monkeypatch.setattr(halt, "take_back", fails)
    pause(two)
    assert len(looked) == 2
    assert [str(each) for each in two.loop.reported] == ["injected", "injected"]


def test_what_finds_no_room_is_told_to_come_back(two: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paused, "MOST_TASKS", 1)
    pause(two)
    two.flow.take([*tasks("a", "b"), *others("x")])
    [outcome] = two.outcomes().values()
    assert (outcome.task.id, outcome.status) == ("b", "limit")
    assert b'"wait_time":30' in outcome.result
    assert b"paused by the operator" in outcome.result
    assert [line[:3] for line in two.flow.paused.describe(0.0)] == [("act", 1, 1)]
    assert two.sent == ["x"]
    assert "results" in two.told


def test_what_is_late_makes_room_and_is_told_so(two: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paused, "MOST_TASKS", 1)
    pause(two)
    two.flow.take([Task("a", "act", deadline=two.loop.now + 1)])
    two.loop.now += 2
    two.flow.take(tasks("b"))
    given = two.results()
    assert set(given) == {"a"}
    assert "EXPIRED" in given["a"]
    assert kept(two) == 1


def test_one_that_is_late_at_the_resume_is_told_so(two: Rig) -> None:
    pause(two)
    two.flow.take([Task("a", "act", deadline=two.loop.now + 1), *tasks("b")])
    two.loop.now += 2
    two.flow.resume("act")
    assert "EXPIRED" in two.results()["a"]
    assert two.sent == ["b"]


def test_a_task_that_nobody_may_run_does_not_wait(two: Rig) -> None:
    pause(two)
    two.flow.take([Task("a", "act", b"x" * 101), Task("b", "unknown")])
    given = two.results()
    assert "PAYLOAD_TOO_LARGE" in given["a"]
    assert '"available_actions":["act","other"]' in given["b"], "a paused action is still one"


def test_a_cancel_finds_it(two: Rig) -> None:
    pause(two)
    two.flow.take(tasks("a", "b"))
    two.flow.cancel(["a"])
    assert "CANCELLED" in two.results()["a"]
    assert kept(two) == 1


def test_the_pause_survives_a_reload(two: Rig) -> None:
    pause(two)
    two.flow.take(tasks("a"))
    two.set_actions("act", "new")
    two.flow.take(tasks("b"))
    assert (kept(two), two.sent) == (2, [])


def test_an_action_that_a_reload_has_taken_away_is_answered_and_stays_paused(two: Rig) -> None:
    pause(two)
    two.flow.take(tasks("a"))
    two.set_actions("other")
    assert "not found" in two.results()["a"]
    two.set_actions("act", "other")
    two.flow.take(tasks("b"))
    assert kept(two) == 1


def test_a_drain_answers_those_that_wait_and_those_that_come(two: Rig) -> None:
    pause(two)
    two.flow.take(tasks("a"))
    two.flow.refuse_paused()
    two.flow.take(tasks("b"))
    statuses = {task_id: outcome.status for task_id, outcome in two.outcomes().items()}
    assert statuses == {"a": "limit", "b": "limit"}
    assert two.flow.in_flight() == 0


def test_a_hand_out_of_a_task_that_waits_joins_it(two: Rig) -> None:
    pause(two)
    two.flow.take(tasks("a"))
    two.flow.take(tasks("a"))
    assert (kept(two), two.flow.under_way.joined) == (1, 1)


def test_a_verdict_that_fails_costs_no_other_task_its_way(two: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    pause(two)
    two.flow.take([Task("a", "act", deadline=two.loop.now + 1), *tasks("b")])
    two.loop.now += 2
    append = two.flow.outbox.append
    failures = iter([RuntimeError("injected")])

    def flaky(outcome: Any) -> None:
        for each in failures:
            raise each
        append(outcome)

    monkeypatch.setattr(two.flow.outbox, "append", flaky)
    two.flow.resume("act")
    assert two.sent == ["b"]
    assert [str(each) for each in two.loop.reported] == ["injected"]
    two.flow.verdicts.save_kept()
    assert "EXPIRED" in two.results()["a"]
