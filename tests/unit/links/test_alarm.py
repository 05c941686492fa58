"""An alarm rings once, not before its moment, and only at the last one it was set to."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

import pytest

from arbd.links.alarm import Alarm


class Timers:
    """Timers of a loop that come when a test lets them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: dict[object, tuple[float, Callable[[], None]]] = {}

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Handle:
        handle = Handle(self)
        self.due[handle] = (self.now + delay_s, callback)
        return handle

    def pass_to(self, now: float) -> None:
        self.now = now
        for handle, (at, callback) in list(self.due.items()):
            if at <= now:
                del self.due[handle]
                callback()


class Handle:
    """A timer that can be cancelled."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers

    def cancel(self) -> None:
        self._timers.due.pop(self, None)


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    made = Timers()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: made)
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


def test_it_rings_once_a_little_after_its_moment(timers: Timers) -> None:
    rings: list[float] = []
    alarm = Alarm(lambda: rings.append(timers.now))
    alarm.set(105.0)
    timers.pass_to(105.0)
    assert (rings, alarm.at) == ([], 105.0)
    timers.pass_to(105.01)
    timers.pass_to(200.0)
    assert (rings, alarm.at) == ([105.01], math.inf)


def test_a_moment_that_has_passed_comes_at_once(timers: Timers) -> None:
    rings: list[float] = []
    Alarm(lambda: rings.append(timers.now)).set(5.0)
    timers.pass_to(100.01)
    assert rings == [100.01]


def test_the_last_moment_counts_and_none_after_a_cancel(timers: Timers) -> None:
    rings: list[float] = []
    alarm = Alarm(lambda: rings.append(timers.now))
    alarm.set(105.0)
    alarm.set(110.0)
    timers.pass_to(109.0)
    assert rings == []
    alarm.cancel()
    alarm.cancel()
    timers.pass_to(200.0)
    assert (rings, timers.due) == ([], {})


def test_it_can_be_set_while_it_rings(timers: Timers) -> None:
    rings: list[float] = []

    def again() -> None:
        rings.append(timers.now)
        alarm.set(timers.now + 10.0)

    alarm = Alarm(again)
    alarm.set(101.0)
    timers.pass_to(102.0)
    timers.pass_to(113.0)
    assert rings == [102.0, 113.0]
