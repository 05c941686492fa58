"""The judge of the hostile campaign sees who was hurt, and counts only the time that belonged to the innocent."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from arbd.hub.board import Result
from bench.hostile.judge import judge
from bench.hostile.marks import Mark, Writer, read
from bench.hostile.tasks import RIGHT, Tasks, nonce, verdict_of

HOSTILE = ("bite",)
MS = 1_000_000


def _ran(number: int, pid: int, began_ms: int, ended_ms: int | None, slot: str = "worker-0") -> list[Mark]:
    marks = [Mark("began", number, pid, slot, began_ms * MS)]
    return marks if ended_ms is None else [*marks, Mark("ended", number, pid, slot, ended_ms * MS)]


def _ready(pid: int, at_ms: int, slot: str = "worker-0") -> Mark:
    return Mark("ready", 0, pid, slot, at_ms * MS)


def test_a_task_that_was_run_once_and_has_its_answer_is_unhurt() -> None:
    found = judge(["work"], [[RIGHT]], [], _ran(1, 10, 0, 5), HOSTILE)
    assert (found.innocent, found.hurt, found.words) == (1, 0, [])


@pytest.mark.parametrize(
    ("verdicts", "marks", "field"),
    [
        ([], _ran(1, 10, 0, 5), "lost"),
        (["umask: 18 -> 0"], _ran(1, 10, 0, 5), "wrong"),
        ([RIGHT, RIGHT], _ran(1, 10, 0, 5), "twice"),
        ([RIGHT], [*_ran(1, 10, 0, 5), *_ran(1, 11, 0, 5)], "twice"),
    ],
)
def test_an_innocent_task_that_was_hurt_is_seen(verdicts: list[str], marks: list[Mark], field: str) -> None:
    found = judge(["work"], [verdicts], [], marks, HOSTILE)
    assert (getattr(found, field), found.hurt, len(found.words)) == (1, 1, 1)


def test_a_number_that_two_have_drawn_is_wrong() -> None:
    assert judge(["work"], [[RIGHT]], ["7", "8", "7"], _ran(1, 10, 0, 5), HOSTILE).wrong == 1


def test_a_hostile_task_may_have_any_verdict_but_one() -> None:
    assert judge(["bite", "bite"], [["TIMEOUT"], ["ValueError"]], [], [], HOSTILE).hurt == 0
    assert judge(["bite", "bite"], [[], ["a", "b"]], [], [], HOSTILE).unanswered == 2


def test_the_time_of_a_worker_that_goes_on_is_held_until_the_task_has_ended() -> None:
    marks = [_ready(10, 0), *_ran(1, 10, 0, 10), *_ran(2, 10, 20, 50), *_ran(3, 10, 100, 100)]
    found = judge(["work", "bite", "work"], [[RIGHT], [""], [RIGHT]], [], marks, HOSTILE)
    assert found.held_s == {"bite": 0.03}
    assert found.per_second == pytest.approx(2 / 0.07)


def test_the_time_of_a_worker_that_ends_is_held_until_the_next_is_ready() -> None:
    marks = [_ready(10, 0), *_ran(1, 10, 0, 10), *_ran(2, 10, 20, None), _ready(11, 80), *_ran(3, 11, 100, 100)]
    found = judge(["work", "bite", "work"], [[RIGHT], [""], [RIGHT]], [], marks, HOSTILE)
    assert found.held_s == {"bite": 0.06}
    assert found.per_second == pytest.approx(2 / 0.04)


def test_tasks_are_the_same_for_the_same_seed_and_every_kind_has_its_turn() -> None:
    made = [Tasks(3, {"a": 1, "b": 1}, ("x", "y", "z"), 5) for _ in range(2)]
    ids = [[task.id for task in (each.make() for _ in range(30))] for each in made]
    assert ids[0] == ids[1]
    assert made[0].actions == made[1].actions
    assert [made[0].actions.count(action) for action in ("x", "y", "z")] == [2, 2, 2]


def _result(status: str, response: Any) -> Result:
    return Result("7", "work", "hostile", status, msgspec.json.encode(response), 1, 0.0)


def test_an_answer_is_right_only_if_it_is_that_of_its_task() -> None:
    right = hashlib.sha256(nonce(1, 7).encode()).hexdigest()
    said = {"status": "success", "data": {"digest": right, "changed": [], "drawn": "5"}}
    assert verdict_of(1, _result("success", said)) == (RIGHT, "5")
    assert verdict_of(2, _result("success", said)) == ("the answer of another task", "")
    said["data"] = {"digest": right, "changed": ["umask"]}
    assert verdict_of(1, _result("success", said)) == ("umask", "")
    lost = {"status": "error", "message": "it died", "data": {"error_code": "WORKER_LOST"}}
    assert verdict_of(1, _result("error", lost)) == ("WORKER_LOST: it died", "")


def test_marks_are_read_as_they_were_written(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.mark("began", 5)
    writer.mark("ended", 5)
    marks = list(read(tmp_path))
    assert [(mark.word, mark.number, mark.pid) for mark in marks] == [
        ("began", 5, os.getpid()),
        ("ended", 5, os.getpid()),
    ]
    assert marks[0].at_ns <= marks[1].at_ns
