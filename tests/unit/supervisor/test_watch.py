"""A task is judged at its hard deadline and not before, an idle daemon looks at nothing, and nobody waits behind a slow
task; a look that fails is made again. The clock is stepped by hand."""

from __future__ import annotations

from typing import Any

import pytest
from flow_support import FakeWorker, Rig, tasks

from arbd.core import dispatch
from arbd.core.deadlines import SLACK_NS
from arbd.core.lifecycle import State
from arbd.host import parcels
from arbd.ipc import frame
from arbd.ipc.cell import Running
from arbd.model.task import Task
from arbd.supervisor import halt
from arbd.supervisor.watch import Watch

TIMEOUT_S, GRACE_S = 1.0, 0.25
SLOW_S = dispatch.RING_NS / 1e9
SLOW_LOOK_S = 0.02
A_MOMENT_S = 0.001


class Boom(Exception):
    """Something nobody expects."""


class Watched(Rig):
    """A flow that is watched."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> None:
        super().__init__(monkeypatch, workers)
        self.watch = Watch(self.flow, GRACE_S)
        [self.worker, *_] = self.workers

    @property
    def now_ns(self) -> int:
        return round(self.loop.now * 1e9)

    @property
    def looks_in(self) -> list[float]:
        return sorted(round(handle.at - self.loop.now, 6) for handle in self.loop.later)

    def begin(self, task_id: str) -> None:
        """Its worker begins it now."""
        [worker] = [each for each in self.workers if task_id in [one.task.id for one in each.has]]
        worker.begin(task_id, self.now_ns)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def failing_once(watched: Watched, monkeypatch: pytest.MonkeyPatch, name: str, owner: Any = None) -> None:
    target = owner or watched.flow
    real = getattr(target, name)

    def fails(*_: Any, **__: Any) -> Any:
        monkeypatch.setattr(target, name, real)
        raise Boom

    monkeypatch.setattr(target, name, fails)


# -- deadlines -------------------------------------------------------------------------------------------------------


def test_a_daemon_without_tasks_looks_at_nothing(watched: Watched) -> None:
    assert watched.loop.is_quiet


def test_one_look_is_planned_for_any_number_of_tasks(watched: Watched) -> None:
    watched.flow.take(tasks("a"))
    watched.flow.take(tasks("b", "c"))
    assert watched.looks_in == [TIMEOUT_S + GRACE_S]


def test_and_none_once_there_is_nothing_left_to_look_at(watched: Watched) -> None:
    watched.flow.take(tasks("a"))
    watched.worker.answer()
    watched.flow.collect()
    watched.loop.step(TIMEOUT_S + GRACE_S)
    assert watched.loop.is_quiet


def test_a_task_is_killed_at_its_hard_deadline_and_not_before(watched: Watched) -> None:
    watched.flow.take(tasks("a"))
    watched.loop.step(0.5)
    watched.begin("a")
    watched.loop.step(TIMEOUT_S + GRACE_S - A_MOMENT_S)
    assert watched.pool.killed == []
    watched.loop.step(2 * A_MOMENT_S)
    assert watched.pool.killed == [watched.worker.id]
    assert "TIMEOUT" in watched.results()["a"]


def test_the_clock_of_the_next_task_starts_when_it_does(watched: Watched) -> None:
    watched.learn_that_tasks_are_short()
    watched.flow.take(tasks("a", "b"))
    watched.begin("a")
    watched.loop.step(0.9 * SLOW_S)
    watched.worker.answer("a")
    watched.begin("b")
    watched.loop.step(TIMEOUT_S + GRACE_S - A_MOMENT_S)
    assert watched.pool.killed == []
    watched.loop.step(2 * A_MOMENT_S)
    assert watched.pool.killed == [watched.worker.id]
    assert watched.results()["a"] == '{"n":1}'


def test_a_task_with_a_deadline_of_its_own_brings_the_look_nearer(watched: Watched) -> None:
    watched.flow.take(tasks("a"))
    watched.worker.answer()
    watched.flow.collect()
    watched.flow.take([Task("b", "act", deadline=watched.loop.now + 0.1)])
    watched.begin("b")
    watched.loop.step(0.1 + GRACE_S - A_MOMENT_S)
    assert watched.pool.killed == []
    watched.loop.step(2 * A_MOMENT_S)
    assert watched.pool.killed == [watched.worker.id]


def test_a_reload_with_shorter_timeouts_does_so_with_the_first_of_its_tasks(watched: Watched) -> None:
    watched.flow.take(tasks("a"))
    watched.begin("a")
    watched.set_actions("act", timeout=0.1)
    watched.worker.answer()
    watched.flow.collect()
    watched.flow.take(tasks("b"))
    watched.begin("b")
    assert watched.looks_in == [0.1 + GRACE_S]
    watched.loop.step(0.1 + GRACE_S + A_MOMENT_S)
    assert watched.pool.killed == [watched.worker.id]


def test_a_reload_with_longer_timeouts_does_not_put_off_a_deadline(watched: Watched) -> None:
    watched.flow.take(tasks("a"))
    watched.loop.step(0.5)
    watched.begin("a")
    watched.set_actions("act", timeout=60.0)
    watched.loop.step(TIMEOUT_S + GRACE_S + A_MOMENT_S)
    assert watched.pool.killed == [watched.worker.id]
    assert '"timeout":1.0' in watched.results()["a"]


@pytest.mark.parametrize("since_ns", [0, 1 << 62])
def test_a_worker_whose_page_says_what_cannot_be_is_killed_all_the_same(watched: Watched, since_ns: int) -> None:
    watched.flow.take(tasks("a"))
    watched.worker.cell.runs = Running(watched.worker.has[0].seq, since_ns)
    watched.loop.step(TIMEOUT_S + GRACE_S + A_MOMENT_S)
    assert watched.pool.killed == []
    watched.loop.step(TIMEOUT_S + GRACE_S + SLACK_NS / 1e9)
    assert watched.pool.killed == [watched.worker.id]
    assert "TIMEOUT" in watched.results()["a"]


def test_a_worker_that_is_being_killed_is_not_judged_again(watched: Watched) -> None:
    watched.flow.take(tasks("a"))
    watched.begin("a")
    watched.worker.state = State.CONDEMNED
    watched.loop.step(10.0)
    assert watched.pool.killed == []
    assert watched.loop.is_quiet


def test_a_supervisor_that_was_away_takes_no_finished_task_for_a_late_one(watched: Watched) -> None:
    watched.flow.take(tasks("a"))
    watched.begin("a")
    watched.worker.answer()
    watched.loop.time_passes(60.0)
    assert watched.pool.killed == []
    assert watched.results() == {"a": '{"n":1}'}


def test_a_worker_whose_answer_cannot_be_taken_yet_is_judged_again_soon(watched: Watched) -> None:
    watched.flow.take(tasks("a"))
    watched.begin("a")
    watched.worker.cell.records = [frame.encode_result_reference(watched.worker.has[0].seq, 1000, "success")]
    watched.worker.bodies = [parcels.NotNow(24, "none")]
    watched.loop.step(TIMEOUT_S + GRACE_S + A_MOMENT_S)
    assert watched.pool.killed == []
    assert [delay for delay in watched.looks_in if delay <= halt.RETRY_S]
    watched.worker.bodies = [b"large"]
    watched.loop.step(1.0)
    assert watched.pool.killed == []
    assert watched.results() == {"a": "large"}


@pytest.mark.parametrize("call", ["collect_from", "lose", "fence", "kill"])
def test_a_look_that_fails_is_made_again(watched: Watched, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    watched.flow.take(tasks("a"))
    watched.begin("a")
    failing_once(watched, monkeypatch, call, watched.pool if call in ("fence", "kill") else None)
    with pytest.raises(Boom):
        watched.loop.step(TIMEOUT_S + GRACE_S + A_MOMENT_S)
    watched.loop.step(halt.RETRY_S)
    if call == "lose":  # after the kill: its end is what settles for it
        assert watched.pool.killed == [watched.worker.id]
    else:
        assert "TIMEOUT" in watched.results()["a"]


def test_closing_ends_all_looks(watched: Watched) -> None:
    watched.learn_that_tasks_are_short()
    watched.flow.take(tasks("a", "b"))
    assert len(watched.loop.later) == 2
    watched.watch.close()
    assert watched.loop.later == []


# -- slow tasks ------------------------------------------------------------------------------------------------------


class Crowded(Watched):
    """Two workers and three short tasks: all of them are with the same worker, which runs the first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch, workers=2)
        self.learn_that_tasks_are_short()
        self.flow.take(tasks("a", "b", "c"))
        [self.worker] = [each for each in self.workers if each.has]
        [self.other] = [each for each in self.workers if not each.has]
        self.begin("a")

    @property
    def slow_looks(self) -> list[float]:
        return [delay for delay in self.looks_in if delay <= SLOW_LOOK_S]

    def ids_of(self, worker: FakeWorker) -> list[str]:
        return [each.task.id for each in worker.has]


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Crowded:
    return Crowded(monkeypatch)


def test_while_nothing_waits_behind_another_nobody_looks_for_slow_tasks(watched: Watched) -> None:
    watched.flow.take(tasks("a"))
    assert min(watched.looks_in) > 1


def test_what_waits_behind_a_slow_task_goes_to_who_is_free(crowded: Crowded) -> None:
    assert crowded.slow_looks == [SLOW_LOOK_S]
    crowded.loop.step(SLOW_LOOK_S)
    assert crowded.ids_of(crowded.other) == ["b"]  # and c is kept for who is free first, now that tasks are known slow
    assert crowded.flow.dispatcher.backlog == 1
    assert crowded.slow_looks == []
    assert crowded.results() == {}


def test_behind_one_that_is_not_yet_slow_it_stays_and_is_looked_at_again(crowded: Crowded) -> None:
    crowded.loop.now += 2 * SLOW_S
    crowded.begin("a")
    crowded.loop.now += SLOW_LOOK_S - 2 * SLOW_S
    crowded.begin("a")
    crowded.loop.step(0)
    assert crowded.ids_of(crowded.other) == []
    assert crowded.slow_looks == [SLOW_LOOK_S]


def test_behind_one_that_has_ended_since_it_stays(crowded: Crowded) -> None:
    """Nobody has looked at its answer yet."""
    crowded.worker.answer("a")
    crowded.loop.step(SLOW_LOOK_S)
    assert crowded.results() == {"a": '{"n":1}'}
    assert crowded.ids_of(crowded.worker) == ["b", "c"]
    assert crowded.slow_looks == [SLOW_LOOK_S]


def test_it_looks_no_more_once_each_has_one(crowded: Crowded) -> None:
    crowded.worker.answer("a")
    crowded.worker.answer("b")
    crowded.begin("c")
    crowded.flow.collect()
    crowded.loop.step(SLOW_LOOK_S)
    assert crowded.slow_looks == []


@pytest.mark.parametrize(("state", "gives_back"), [(State.RETIRING, True), (State.CONDEMNED, False)])
def test_one_that_retires_gives_back_and_one_that_dies_is_left_alone(
    crowded: Crowded, state: State, gives_back: bool
) -> None:
    crowded.worker.state = state
    crowded.loop.step(SLOW_LOOK_S)
    assert (crowded.worker.cell.marks == [-1]) == gives_back


@pytest.mark.parametrize("call", ["collect_from", "pump", "fence"])
def test_a_look_for_slow_tasks_that_fails_is_made_again(
    crowded: Crowded, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    failing_once(crowded, monkeypatch, call, crowded.pool if call == "fence" else None)
    with pytest.raises(Boom):
        crowded.loop.step(SLOW_LOOK_S)
    crowded.loop.step(SLOW_LOOK_S)
    assert crowded.ids_of(crowded.other) == ["b"]


# -- workers that hang -----------------------------------------------------------------------------------------------


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Two workers, and an action that may take an hour."""
    watched = Watched(monkeypatch, workers=2)
    watched.set_actions("act", timeout=3600.0)
    return watched


def test_a_worker_that_takes_no_task_is_killed_long_before_a_deadline(patient: Watched) -> None:
    patient.flow.take(tasks("a"))
    [hangs] = [each for each in patient.workers if each.has]
    patient.loop.step(3.0)
    assert patient.pool.killed == []
    patient.loop.step(4.0)
    assert patient.pool.killed == [hangs.id]
    assert patient.results() == {}


def test_a_worker_that_runs_a_long_task_or_takes_them_slowly_is_not(patient: Watched) -> None:
    patient.flow.take(tasks("a", "b"))
    patient.begin("a")
    [slow] = [each for each in patient.workers if [one.task.id for one in each.has] == ["b"]]
    for _ in range(100):
        slow.cell.taken += 8  # records it skips, say
        patient.loop.step(3.0)
    assert patient.pool.killed == []


def test_a_look_for_them_that_fails_does_not_put_off_a_deadline(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.flow.take(tasks("a"))
    watched.begin("a")
    failing_once(watched, monkeypatch, "_kill_wedged", watched.watch)
    with pytest.raises(Boom):
        watched.loop.step(TIMEOUT_S + GRACE_S + A_MOMENT_S)
    watched.loop.step(0.1)
    assert watched.pool.killed == [watched.worker.id]
