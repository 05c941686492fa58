"""A turn ends when its worker is gone or no successor can be had, and none begins after the end. How the pool goes
through with it is in ``test_pool_notices``."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from flow_support import FakeWorker, HandLoop

from arbd.core.history import Why
from arbd.core.lifecycle import State
from arbd.core.recycling import HOLD_S
from arbd.supervisor.succession import Succession


class Rig:
    """Three workers, and what was asked for."""

    def __init__(self) -> None:
        self.workers: dict[int, Any] = {number: FakeWorker(number) for number in (1, 2, 3)}
        self.wanted: list[int] = []
        self.replaced: list[tuple[int, Why]] = []
        self.succession = Succession(self.workers, self.wanted.append, self._replace)
        for worker in self.workers.values():
            worker.replacement_reason = None

    def _replace(self, worker: Any, why: Why) -> None:
        worker.state = State.RETIRING
        self.replaced.append((worker.id, why))

    def ask(self, *numbers: int) -> None:
        for number in numbers:
            self.succession.ask_to_replace(self.workers[number], "age", "old")

    def successor_ready(self, slot: int) -> None:
        successor: Any = FakeWorker(10 + slot)
        successor.slot = slot
        self.succession.ready(successor)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> HandLoop:
    loop = HandLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    monkeypatch.setattr(time, "monotonic_ns", lambda: round(loop.now * 1e9))
    return loop


@pytest.fixture
def rig(loop: HandLoop) -> Rig:
    return Rig()


def test_the_successor_of_another_ends_no_turn(rig: Rig) -> None:
    rig.ask(1, 2)
    rig.successor_ready(3)
    assert (rig.wanted, rig.replaced) == ([1], [])
    rig.successor_ready(1)
    assert rig.replaced == [(1, Why("age", "old"))]


def test_one_that_is_gone_makes_room_for_the_next(rig: Rig) -> None:
    rig.ask(1, 2)
    gone = rig.workers.pop(1)
    rig.succession.gone(gone)
    assert rig.wanted == [1, 2]
    assert rig.succession.is_superseded(rig.workers[2])


def test_one_whose_successor_cannot_be_had_does_too_and_serves_on(rig: Rig) -> None:
    rig.ask(1, 2)
    rig.succession.cannot_have(3)
    assert rig.wanted == [1]
    rig.succession.cannot_have(1)
    assert rig.wanted == [1, 2]
    assert rig.replaced == []


def test_one_that_left_meanwhile_is_not_told_to(rig: Rig) -> None:
    rig.ask(1)
    rig.workers[1].state = State.LEAVING
    rig.successor_ready(1)
    assert rig.replaced == []


def test_after_the_end_no_turn_begins(rig: Rig, loop: HandLoop) -> None:
    rig.ask(1, 2)
    rig.successor_ready(1)
    rig.succession.close()
    loop.step(2 * HOLD_S)
    rig.ask(3)
    assert rig.wanted == [1]
    assert loop.is_quiet
