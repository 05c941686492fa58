"""The judge of the fault campaign sees what is wrong, and lets pass what a fault explains; its plan is reproducible."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from arbd.hub.board import Result, TaskEvent
from bench.faults.plan import VARIANTS, plan
from bench.faults.tasks import LIMIT, RIGHT, WRONG, Tasks, payload, right_answer, verdict_of
from bench.faults.verdicts import Notes, Task, Trouble, judge, read_notes

_TWO_THAT_DIFFER = (TaskEvent(0, "result", status="success"), TaskEvent(1, "result_duplicate", status="error"))
_HELD = Notes(began=[(10, 1)], ended=1)
_CUT_SHORT = Notes(began=[(10, 1)])
_NO_TROUBLE = Trouble(killed=set(), daemon_ended=False)


def _task(action: str, *verdicts: str, notes: Notes = _HELD, events: tuple[TaskEvent, ...] = ()) -> Task:
    return Task(1, action, verdicts, events, notes)


def _result(action: str, status: str, response: Any) -> Result:
    return Result("1", action, "faults", status, msgspec.json.encode(response), 1, 0.0)


@pytest.mark.parametrize(
    ("task", "trouble"),
    [
        (_task("echo", RIGHT), _NO_TROUBLE),
        (_task("limited", LIMIT, notes=Notes()), _NO_TROUBLE),
        (_task("late", "TIMEOUT", notes=_CUT_SHORT), _NO_TROUBLE),
        (_task("echo", "WORKER_LOST"), Trouble({10}, False)),
        (_task("echo", "WORKER_LOST", notes=_CUT_SHORT), Trouble({1}, False)),  # its zygote was killed
        (_task("echo", "WORKER_LOST", notes=Notes()), Trouble({10}, False)),
        (_task("echo", "ABORTED", notes=_CUT_SHORT), Trouble(set(), True)),
    ],
)
def test_what_a_fault_explains_is_right(task: Task, trouble: Trouble) -> None:
    assert judge([task], trouble).broken == []


@pytest.mark.parametrize(
    "task",
    [
        _task("echo", WRONG),
        _task("echo", RIGHT, notes=Notes()),  # nothing ran
        _task("late", RIGHT),
        _task("echo", LIMIT, notes=Notes()),
        _task("limited", LIMIT),  # it ran all the same
        _task("echo", "TIMEOUT", notes=_CUT_SHORT),
        _task("late", "TIMEOUT"),  # it ran to its end
        _task("echo", "WORKER_LOST"),
        _task("echo", "WORKER_LOST", notes=Notes()),
        _task("echo", "ABORTED"),
        _task("echo", "OSError", notes=_CUT_SHORT),
        _task(
            "echo",
            RIGHT,
            events=(TaskEvent(0, "result", status="success"), TaskEvent(1, "result_duplicate", status="error")),
        ),
    ],
)
def test_a_falsified_verdict_is_seen(task: Task) -> None:
    judgement = judge([task], _NO_TROUBLE)
    assert (judgement.falsified, len(judgement.broken)) == (1, 1)


def test_a_task_without_a_verdict_is_lost() -> None:
    assert judge([_task("echo", notes=Notes())], Trouble({10}, True)).lost == 1


@pytest.mark.parametrize(
    "task",
    [
        _task("echo", RIGHT, RIGHT),
        _task("echo", RIGHT, notes=Notes([(10, 1), (11, 1)], 1)),
        _task("echo", "WORKER_LOST", notes=Notes([(10, 1)], 2)),
    ],
)
def test_what_happens_twice_is_seen(task: Task) -> None:
    assert judge([task], Trouble({10}, False)).repeated == 1


def test_the_same_result_sent_twice_is_counted_and_right() -> None:
    events = (TaskEvent(0, "result", status="success"), TaskEvent(1, "result_duplicate", status="success"))
    judgement = judge([_task("echo", RIGHT, events=events)], _NO_TROUBLE)
    assert (judgement.broken, judgement.sent_again) == ([], 1)


def test_notes_are_read_by_task() -> None:
    notes = read_notes(["began 1 10 5", "began 2 11 5", "ended 1 10 5"])
    assert notes == {1: Notes([(10, 5)], 1), 2: Notes([(11, 5)], 0)}


@pytest.mark.parametrize("action", ["echo", "large_in", "large_out"])
def test_an_answer_is_right_only_if_it_is_that_of_its_task(action: str) -> None:
    right = right_answer(7, 1, action)
    assert verdict_of(7, _result(action, "success", {"status": "success", "data": right})) == RIGHT
    assert verdict_of(7, _result(action, "success", {"status": "success", "data": right_answer(7, 2, action)})) == WRONG
    assert verdict_of(7, _result(action, "error", {"status": "success", "data": right})) == WRONG


def test_an_error_is_called_by_its_code() -> None:
    for data, word in (({"error_code": "TIMEOUT"}, "TIMEOUT"), ({"error_type": "OSError"}, "OSError"), (None, "words")):
        assert verdict_of(1, _result("echo", "error", {"status": "error", "message": "words", "data": data})) == word


def test_tasks_are_made_from_their_numbers() -> None:
    tasks, again = Tasks(3), Tasks(3)
    made = [tasks.make() for _ in range(50)]
    assert [task.id for task in made] == [str(number) for number in range(1, 51)]
    assert made == [again.make() for _ in range(50)]
    assert msgspec.json.decode(made[4].payload) == payload(3, 5, made[4].action)


def test_a_plan_is_the_same_for_the_same_seed_and_has_everything() -> None:
    faults = plan(1, 60, VARIANTS)
    assert faults == plan(1, 60, VARIANTS)
    assert faults != plan(2, 60, VARIANTS)
    assert {(fault.kind, fault.variant) for fault in faults} == {(k, v) for k, vs in VARIANTS.items() for v in vs}
    assert [fault.at_s for fault in faults] == [1.0 + 2 * number for number in range(len(faults))]
