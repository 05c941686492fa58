"""A run that ended with its worker is told with the worker's end and the times that are known."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from arbd.core.dispatch import Assignment
from arbd.model.flight import Flight
from arbd.model.task import Task
from arbd.supervisor.lost_run import LostRun, WorkerEnd, end_of


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, {}),
        (0, {"exit_code": 0}),
        (3, {"exit_code": 3}),
        (-signal.SIGKILL, {"signal": "SIGKILL"}),
        (-40, {"signal": "signal 40"}),
    ],
)
def test_how_a_worker_ended(status: int | None, expected: WorkerEnd) -> None:
    assert end_of(status) == expected


@pytest.mark.parametrize(("is_its", "since_ns", "run_ns"), [(True, 300, 200), (False, 0, 0)])
def test_the_times_are_those_that_the_memory_tells_of_this_task(*, is_its: bool, since_ns: int, run_ns: int) -> None:
    assignment = Assignment(7, Task("a", "act"), 1.0, taken_ns=100)
    assignment.sent_ns = 200
    running = SimpleNamespace(is_for=lambda seq: is_its and seq == 7, since_ns=300)
    worker: Any = SimpleNamespace(slot=1, pid=42, cell=SimpleNamespace(running=lambda: running))
    flight = LostRun(worker, assignment).flight("error", 500)
    assert flight == Flight("a", "act", 1, 42, "error", 100, 200, since_ns, 0, run_ns, 500)
