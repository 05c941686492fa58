"""A slot out of service is told in the log when its reason changes, and when it heals; nothing is planned after
the end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import pytest
from flow_support import HandLoop

from arbd.core import restarts
from arbd.supervisor.slots import Slots

LONG_S = 2 * restarts.LONGEST_UNFIT_PAUSE_S


class Rig:
    """Slots, what they asked for, and how often."""

    def __init__(self, count: int = 2) -> None:
        self.taken: list[int] = []
        self.given_up: list[bool] = []
        self.slots = Slots(count, self._fill, self.given_up.append)

    def _fill(self) -> None:
        while (slot := self.slots.take()) is not None:
            self.taken.append(slot)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> HandLoop:
    loop = HandLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    monkeypatch.setattr(time, "monotonic_ns", lambda: round(loop.now * 1e9))
    return loop


def logged(capsys: pytest.CaptureFixture[str], event: str) -> list[object]:
    """The reasons, or whatever else there is, of the lines of an event."""
    lines = map(json.loads, capsys.readouterr().err.splitlines())
    return [line.get("reason", line.get("failures")) for line in lines if line["event"] == event]


def test_an_unfit_slot_is_told_once_per_reason(loop: HandLoop, capsys: pytest.CaptureFixture[str]) -> None:
    rig = Rig()
    for reason in ("no database", "no database", "no network", "no network", "no database"):
        rig.slots.unfit(0, reason)
        loop.step(LONG_S)
    assert logged(capsys, "worker_unfit") == ["no database", "no network", "no database"]
    assert rig.taken == [0] * 5
    assert rig.given_up == []


def test_one_that_heals_says_so_once(loop: HandLoop, capsys: pytest.CaptureFixture[str]) -> None:
    rig = Rig()
    rig.slots.unfit(0, "no database")
    rig.slots.unfit(0, "no database")
    rig.slots.ready(0)
    rig.slots.ready(0)
    assert logged(capsys, "worker_fit_again") == [2]
    assert rig.slots.troubles == {}


def test_a_pause_is_of_one_slot(loop: HandLoop) -> None:
    rig = Rig()
    rig.slots.unfit(0, "no database")
    rig.slots.want(1)
    assert rig.taken == [1]


def test_a_machine_that_has_nothing_stops_all(loop: HandLoop) -> None:
    rig = Rig()
    rig.slots.not_started(0, "Too many open files", others_serve=True)
    rig.slots.want(1)
    assert rig.taken == []
    loop.step(restarts.LONGEST_PAUSE_S)
    assert sorted(rig.taken) == [0, 1]


def test_a_new_generation_forgets_all_but_the_machine(loop: HandLoop) -> None:
    rig = Rig(3)
    rig.slots.unfit(0, "no database")
    rig.slots.cannot_boot(1, 1, others_serve=True)
    rig.slots.not_started(2, "Too many open files", others_serve=True)
    rig.slots.begin_anew()
    assert list(rig.slots.troubles) == [2]
    loop.step(LONG_S)
    assert rig.taken == [2]


def test_after_the_end_nothing_is_planned(loop: HandLoop) -> None:
    rig = Rig()
    rig.slots.unfit(0, "no database")
    rig.slots.not_started(1, "Too many open files", others_serve=True)
    rig.slots.close()
    rig.slots.unfit(0, "no database")
    rig.slots.ended_early(0, at_task=False)
    rig.slots.cannot_boot(0, 1, others_serve=False)
    rig.slots.want(0)
    assert loop.is_quiet
    assert rig.taken == []


def test_slots_that_come_are_wanted_and_those_that_go_are_not(loop: HandLoop) -> None:
    rig = Rig()
    rig.slots.resize(4)
    assert rig.taken == [2, 3]
    rig.slots.resize(1)
    rig.slots.want(3)
    assert (rig.taken, rig.slots.count) == ([2, 3], 1)


def test_what_is_said_of_a_slot_that_has_gone_is_heard_and_starts_nothing(loop: HandLoop) -> None:
    rig = Rig(3)
    rig.slots.unfit(2, "no database")
    rig.slots.resize(2)
    assert rig.slots.troubles == {}
    said: list[Callable[[], None]] = [
        lambda: rig.slots.unfit(2, "no database"),
        lambda: rig.slots.ended_early(2, at_task=True),
        lambda: rig.slots.cannot_boot(2, 1, others_serve=False),
        lambda: rig.slots.not_started(2, "no memory", others_serve=False),
        lambda: rig.slots.worked(2),
        lambda: rig.slots.ready(2),
    ]
    for say in said:
        say()
        loop.step(LONG_S)
    assert (rig.taken, rig.slots.troubles, rig.given_up) == ([], {}, [])


def test_a_slot_that_comes_back_begins_anew(loop: HandLoop) -> None:
    rig = Rig(2)
    for _ in range(5):
        rig.slots.unfit(1, "no database")
        loop.step(LONG_S)
    rig.taken.clear()
    rig.slots.resize(1)
    rig.slots.resize(2)
    assert rig.taken == [1]
    assert not rig.slots.pauses(1)
