"""Whether a task may run, and for how long: in each state of the daemon and of the task's action."""

from __future__ import annotations

import math
import time

import pytest

from arbd.model.response import ProviderResponse
from arbd.model.task import Task
from arbd.supervisor.admission import Admission


@pytest.fixture
def admission() -> Admission:
    found = Admission(max_payload=10)
    found.offer({"act": 5.0, "other": 7.0})
    return found


def refusal(answer: float | ProviderResponse) -> str:
    assert isinstance(answer, ProviderResponse)
    data = answer.data if isinstance(answer.data, dict) else {}
    return str(data.get("error_code", answer.status))


def test_a_task_of_an_action_may_run_for_its_timeout(admission: Admission) -> None:
    assert [admission.timeout_of(Task("1", action)) for action in ("act", "other")] == [5.0, 7.0]


@pytest.mark.parametrize(
    "task",
    [Task("1", "nonsense"), Task("1", "act", b"x" * 11), Task("1", "act", b"", b"x" * 11), Task("1" * 1001, "act")],
)
def test_what_can_never_run_is_an_error(admission: Admission, task: Task) -> None:
    answer = admission.timeout_of(task)
    assert isinstance(answer, ProviderResponse)
    assert answer.status == "error"


def test_what_a_reload_has_taken_away_or_allowed_holds_from_then_on(admission: Admission) -> None:
    admission.offer({"new": 1.0})
    admission.max_payload = 11
    assert refusal(admission.timeout_of(Task("1", "act"))) == "error"
    assert admission.timeout_of(Task("1", "new", b"x" * 11)) == 1.0


def test_a_paused_action_runs_nothing_until_it_is_resumed_also_over_a_reload(admission: Admission) -> None:
    assert [admission.pause("act", 0.0), admission.pause("act", 0.0)] == [True, False]
    admission.offer({"act": 5.0})
    task = Task("1", "act")
    assert (refusal(admission.timeout_of(task)), refusal(admission.time_left(task))) == ("PAUSED", "PAUSED")
    assert admission.paused.keep(task)
    assert admission.resume("act") == [task]
    assert admission.timeout_of(task) == 5.0


def test_nothing_runs_beyond_the_moment_from_which_nobody_wants_its_result(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    deadlines = {102.0: 2.0, 200.0: 5.0, math.inf: 5.0}
    tasks = [Task("1", "act", deadline=deadline) for deadline in deadlines]
    assert [admission.timeout_of(task) for task in tasks] == list(deadlines.values())
    assert [admission.time_left(task) for task in tasks] == list(deadlines.values())
    assert refusal(admission.timeout_of(Task("1", "act", deadline=100.0))) == "EXPIRED"


def test_nothing_that_comes_runs_when_it_is_closed(admission: Admission) -> None:
    admission.is_closed = True
    assert refusal(admission.timeout_of(Task("1", "act"))) == "ABORTED"
    assert admission.time_left(Task("1", "act")) == 5.0  # what came before
