"""After work each worker is rung once, when it is idle; where nothing was done nobody looks."""

from __future__ import annotations

import pytest
from flow_support import Rig, tasks

from arbd.core.idle_looks import APART_S
from arbd.host import doorbell
from arbd.supervisor.idle_look_timer import IdleLookTimer


class Idle(Rig):
    """A flow whose workers are rung when they are idle. ``rung``: the bells that were rung for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch, workers=2)
        self.timer = IdleLookTimer(self.flow)
        self.rung: list[int] = []
        monkeypatch.setattr(doorbell, "ring", self.rung.append)

    def work(self, task_id: str = "a") -> None:
        """A worker does a task."""
        self.flow.take(tasks(task_id))
        [worker] = [each for each in self.workers if each.has]
        worker.answer()
        worker.cell.done += 1
        self.flow.collect()
        self.rung.clear()
        self.worked = worker


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> Idle:
    return Idle(monkeypatch)


def test_who_has_worked_is_rung_once_after_a_pause_and_then_nobody_looks(idle: Idle) -> None:
    idle.work()
    idle.loop.step(APART_S)
    assert idle.rung == []
    idle.loop.step(APART_S)
    assert idle.rung == [idle.worked.bell]
    idle.loop.step(APART_S)
    assert idle.loop.is_quiet


def test_without_work_nobody_looks(idle: Idle) -> None:
    idle.flow.collect()
    assert idle.loop.is_quiet


def test_a_task_that_runs_long_keeps_nobody_looking(idle: Idle) -> None:
    idle.work()
    idle.flow.take(tasks("long"))
    for _ in range(4):
        idle.loop.step(APART_S)
    assert [handle for handle in idle.loop.later if handle.delay_s == APART_S] == []


def test_closing_ends_it_for_good(idle: Idle) -> None:
    idle.work()
    idle.timer.close()
    idle.loop.step(3 * APART_S)
    assert idle.rung == []
    idle.work("b")
    assert idle.loop.is_quiet
