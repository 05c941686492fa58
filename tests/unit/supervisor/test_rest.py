"""After work each worker is rung once, when it has come to rest; where nothing was done nobody looks."""

from __future__ import annotations

import pytest
from flow_support import Rig, tasks

from arbd.core.rested import APART_S
from arbd.host import doorbell
from arbd.supervisor.rest import Rest


class Resting(Rig):
    """A flow whose workers are seen to their rest. ``rung``: the bells that were rung for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch, workers=2)
        self.rest = Rest(self.flow)
        self.rung: list[int] = []
        monkeypatch.setattr(doorbell, "ring", self.rung.append)

    def work(self) -> None:
        """The first worker does a task."""
        self.flow.take(tasks("a"))
        [worker] = [each for each in self.workers if each.has]
        worker.answer()
        worker.cell.done += 1
        self.flow.collect()
        self.rung.clear()
        self.worked = worker


@pytest.fixture
def resting(monkeypatch: pytest.MonkeyPatch) -> Resting:
    return Resting(monkeypatch)


def test_who_has_worked_is_rung_once_after_a_pause_and_then_nobody_looks(resting: Resting) -> None:
    resting.work()
    resting.loop.step(APART_S)
    assert resting.rung == []
    resting.loop.step(APART_S)
    assert resting.rung == [resting.worked.bell]
    assert resting.loop.is_quiet


def test_without_work_nobody_looks(resting: Resting) -> None:
    resting.flow.collect()
    assert resting.loop.is_quiet


def test_closing_ends_it(resting: Resting) -> None:
    resting.work()
    resting.rest.close()
    resting.loop.step(3 * APART_S)
    assert resting.rung == []
