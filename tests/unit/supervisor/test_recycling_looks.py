"""Workers that hold too much are replaced, a task that takes more than the hard limit is ended, and nobody looks where
there is nothing to look for; what a fresh worker holds is told once and never a reason."""

from __future__ import annotations

from typing import Any

import pytest
from flow_support import FakeWorker, Rig, rig, tasks

from arbd.core.history import Why
from arbd.core.lifecycle import State
from arbd.core.recycling import HARD_LOOK_S, LOOK_S, Bounds, RecycleLimits
from arbd.host import footprint
from arbd.supervisor.recycling import Recycling

__all__ = ["rig"]

MIB = 1 << 20
A_MOMENT_S = 0.001


class Boom(Exception):
    """Something nobody expects."""


class Looks:
    """Recycling over the workers of a rig; what each holds, and what the pool was asked for."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch, limits: RecycleLimits) -> None:
        self.rig = rig
        self.rss = {worker.pid: 10 * MIB for worker in rig.workers}
        self.fds = {worker.pid: 10 for worker in rig.workers}
        self.asked: list[tuple[int, str, str]] = []
        self.replaced: list[tuple[int, Why]] = []
        self.looked: list[int] = []
        monkeypatch.setattr(footprint, "rss_of", self._rss_of)
        monkeypatch.setattr(footprint, "descriptors_of", self.fds.get)
        pool: Any = rig.pool
        pool.recycle = limits
        pool.ask_to_replace = lambda worker, reason, detail: self.asked.append((worker.id, reason, detail))
        pool.replace_now = lambda worker, why: self.replaced.append((worker.id, why))
        for each in rig.workers:
            worker: Any = each
            worker.bounds = Bounds(0, round(limits.max_age_s * 1e9), limits.max_memory, limits.max_fds)
            worker.has_hard_limit = True
            worker.spawned_at_ns = round(rig.loop.now * 1e9)
        self.recycling = Recycling(rig.flow)

    def _rss_of(self, pid: int) -> int | None:
        self.looked.append(pid)
        return self.rss.get(pid)

    def runs(self, task_id: str) -> FakeWorker:
        """A worker that runs this task."""
        self.rig.flow.take(tasks(task_id))
        [worker] = [each for each in self.rig.workers if [has for has in each.has if has.task.id == task_id]]
        worker.begin(task_id)
        return worker


def test_nobody_looks_where_no_limit_is_set(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    Looks(rig, monkeypatch, RecycleLimits(max_tasks=5))
    rig.flow.take(tasks("a"))
    assert rig.loop.later == []


@pytest.mark.parametrize(
    ("limits", "reason", "detail"),
    [
        (RecycleLimits(max_memory=100 * MIB), "memory", "it held 101 MiB"),
        (RecycleLimits(max_fds=100), "descriptors", "it had 101 descriptors open"),
        (RecycleLimits(max_age_s=0.5), "age", "it was 1 s old"),
    ],
)
def test_who_is_over_a_limit_is_to_be_replaced(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, limits: RecycleLimits, reason: str, detail: str
) -> None:
    looks = Looks(rig, monkeypatch, limits)
    looks.rss[2] = 101 * MIB
    looks.fds[2] = 101
    if limits.max_age_s:
        for worker in (rig.workers[0], rig.workers[2]):
            of_rig: Any = worker
            of_rig.spawned_at_ns += 1_000_000_000
    rig.loop.step(LOOK_S - A_MOMENT_S)
    assert looks.asked == []
    rig.loop.step(2 * A_MOMENT_S)
    assert looks.asked == [(2, reason, detail)]


def test_those_that_start_or_leave_are_not_looked_at(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(rig, monkeypatch, RecycleLimits(max_memory=MIB))
    for worker, state in zip(rig.workers, (State.STARTING, State.LEAVING, State.CONDEMNED), strict=True):
        worker.state = state
    rig.loop.step(LOOK_S + A_MOMENT_S)
    assert looks.looked == []


def test_one_that_has_just_ended_holds_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(rig, monkeypatch, RecycleLimits(max_memory=MIB))
    looks.rss.clear()
    rig.loop.step(LOOK_S + A_MOMENT_S)
    assert looks.asked == []


def test_a_look_that_fails_is_followed_by_the_next(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(rig, monkeypatch, RecycleLimits(max_memory=100 * MIB))

    def fail(_: int) -> int:
        raise Boom

    monkeypatch.setattr(footprint, "rss_of", fail)
    with pytest.raises(Boom):
        rig.loop.step(LOOK_S + A_MOMENT_S)
    monkeypatch.setattr(footprint, "rss_of", lambda _: 101 * MIB)
    rig.loop.step(LOOK_S + A_MOMENT_S)
    assert len(looks.asked) == 3


# -- the hard limit --------------------------------------------------------------------------------------------------

HARD = RecycleLimits(memory_limit=100 * MIB)


def test_a_task_that_takes_more_is_ended_soon_and_the_others_are_not(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(rig, monkeypatch, HARD)
    worker, other = looks.runs("a"), looks.runs("b")
    looks.rss[worker.pid] = 101 * MIB
    rig.loop.step(HARD_LOOK_S + A_MOMENT_S)
    assert rig.pool.killed == [worker.id]
    assert rig.pool.noted == [(worker.id, Why("memory_limit", "it held 101 MiB", "act"))]
    results = rig.results()
    assert list(results) == ["a"]
    assert '"error_code":"MEMORY"' in results["a"]
    assert f'"limit":{100 * MIB}' in results["a"]
    assert other.state is State.SERVING


def test_a_task_that_ends_in_that_moment_has_its_answer_and_the_worker_goes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(rig, monkeypatch, HARD)
    worker = looks.runs("a")
    looks.rss[worker.pid] = 101 * MIB
    rig.pool.on_fence.append(worker.answer)
    rig.loop.step(HARD_LOOK_S + A_MOMENT_S)
    assert rig.pool.killed == []
    assert rig.results() == {"a": '{"n":1}'}
    rig.pool.on_fence.clear()
    rig.loop.step(LOOK_S)
    assert looks.replaced == [(worker.id, Why("memory_limit", "it held 101 MiB"))]


def test_a_task_that_one_which_leaves_is_about_to_skip_is_not_ended(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(rig, monkeypatch, HARD)
    worker = looks.runs("a")
    looks.rss[worker.pid] = 101 * MIB
    rig.pool.on_fence.append(lambda: setattr(worker, "said_leaving", True))
    rig.loop.step(HARD_LOOK_S + A_MOMENT_S)
    assert rig.pool.killed == []
    assert rig.results() == {}


def test_an_idle_one_is_replaced(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(rig, monkeypatch, HARD)
    looks.rss[1] = 101 * MIB
    rig.loop.step(LOOK_S + A_MOMENT_S)
    assert looks.replaced == [(1, Why("memory_limit", "it held 101 MiB"))]
    assert rig.pool.killed == []


def test_one_that_retires_may_take_no_more_either(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(rig, monkeypatch, HARD)
    worker = looks.runs("a")
    worker.state = State.RETIRING
    looks.rss[worker.pid] = 101 * MIB
    rig.loop.step(HARD_LOOK_S + A_MOMENT_S)
    assert rig.pool.killed == [worker.id]


def test_looks_are_frequent_while_tasks_run_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(rig, monkeypatch, HARD)
    rig.loop.step(LOOK_S / 2)
    assert looks.looked == []
    worker = looks.runs("a")
    rig.loop.step(10 * HARD_LOOK_S + A_MOMENT_S)
    assert looks.looked.count(1) == 10
    worker.answer()
    rig.flow.collect()
    rig.loop.step(HARD_LOOK_S)
    looks.looked.clear()
    rig.loop.step(LOOK_S - 2 * HARD_LOOK_S)
    assert looks.looked == []
    looks.recycling.close()


def test_who_watches_deadlines_hears_of_tasks_as_before(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[set[int]] = []
    rig.flow.on_sent = lambda sent, _: heard.append(sent)
    Looks(rig, monkeypatch, HARD).runs("a")
    assert len(heard) == 1


# -- what a fresh worker holds ---------------------------------------------------------------------------------------


def test_a_limit_below_that_is_told_once_and_not_applied(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = Looks(rig, monkeypatch, RecycleLimits(max_memory=5 * MIB, max_fds=5, memory_limit=6 * MIB))
    for each in rig.workers:
        worker: Any = each
        looks.recycling.on_fresh(worker)
        assert worker.bounds == Bounds(0, 0, 0, 0)
        assert not worker.has_hard_limit
    assert capsys.readouterr().err.count("worker_limit_too_low") == 3
    looks.runs("a")
    rig.loop.step(2 * LOOK_S)
    assert (looks.asked, looks.replaced, rig.pool.killed) == ([], [], [])


def test_a_limit_above_that_is(rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    looks = Looks(rig, monkeypatch, RecycleLimits(max_memory=50 * MIB, max_fds=50, memory_limit=60 * MIB))
    worker: Any = rig.workers[0]
    before = worker.bounds
    looks.recycling.on_fresh(worker)
    assert (worker.bounds, worker.has_hard_limit) == (before, True)
    assert capsys.readouterr().err == ""
