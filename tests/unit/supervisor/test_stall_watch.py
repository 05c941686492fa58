"""Pings come at half of the time that systemd allows, are withheld from the moment a part does not move, and end for
good, with a line that names the part, once it has not moved for that long."""

from __future__ import annotations

from typing import Any

import pytest
from notify_fakes import Heard

from arbd.core.progress import Sight
from arbd.logs import notable
from arbd.supervisor.stall_watch import StallWatch

STUCK = Sight(first_in_line=7, has_idle_worker=True)


class Fed:
    """A watch that is ticked by hand."""

    def __init__(self, watchdog_s: float) -> None:
        self.heard = Heard()
        self.watch = StallWatch(self.heard, watchdog_s)
        self.now = 100.0
        self.lines: list[tuple[str, dict[str, Any]]] = []
        log: Any = self
        self.watch._log = log

    def critical(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    def run(self, seconds: float, sight: Sight | None = Sight()) -> list[float]:  # noqa: B008 # a tuple
        """The moments of the pings in that time, from its begin on."""
        began_at, pings = self.now, []
        while self.now < began_at + seconds:
            self.now += self.watch.tick_s
            self.watch.tick(self.now, None if sight is None else lambda: sight)
            if self.heard.take() == ["WATCHDOG=1"]:
                pings.append(self.now - began_at)
        return pings


@pytest.mark.parametrize(("watchdog_s", "tick_s"), [(0.01, 0.05), (2.0, 0.5), (4.0, 1.0), (30.0, 1.0), (3600.0, 1.0)])
def test_ticks_are_neither_rare_nor_without_end(watchdog_s: float, tick_s: float) -> None:
    assert StallWatch(Heard(), watchdog_s).tick_s == tick_s


@pytest.mark.parametrize("sight", [None, Sight()])
def test_pings_come_at_half_of_the_time(sight: Sight | None) -> None:
    assert Fed(10.0).run(30.0, sight) == [1.0, 6.0, 11.0, 16.0, 21.0, 26.0]


@pytest.mark.parametrize("watchdog_s", [2.0, 10.0, 30.0, 120.0])
def test_the_last_ping_is_at_most_a_second_younger_than_the_stall(watchdog_s: float) -> None:
    for healthy_s in range(20):
        fed = Fed(watchdog_s)
        fed.run(healthy_s)
        assert all(at <= 1.0 for at in fed.run(3 * watchdog_s, STUCK))


def test_a_stall_is_judged_once_before_systemd_acts_and_told_with_its_stacks() -> None:
    fed = Fed(10.0)
    fed.run(20.0)
    numbers = [each.number for each in notable.recent()]
    fed.run(10.0, STUCK)
    fed.run(60.0)
    [(event, fields), (stacks_event, stacks)] = fed.lines
    assert (event, fields["part"], fields["seconds"]) == ("stalled", "dispatch", 5.0)
    assert stacks_event == "stalled_at"
    assert "most recent call first" in stacks["stacks"]
    [kept] = notable.recent(max(numbers, default=0))
    assert kept.event == "stalled"
    assert "stacks" not in kept.fields


def test_no_ping_follows_a_stall_whatever_moves_then() -> None:
    fed = Fed(10.0)
    fed.run(10.0, STUCK)
    assert fed.watch.is_judged
    assert fed.run(60.0) == []


def test_a_part_that_is_slow_for_a_moment_costs_a_ping_and_no_more() -> None:
    fed = Fed(10.0)
    fed.run(6.0)
    assert fed.run(4.0, STUCK) == []
    assert fed.run(2.0) == [1.0, 2.0] or len(fed.run(6.0)) >= 1
    assert fed.lines == []


class Ticks:
    """In place of the event by which the thread waits: each wait is a moment, in which the loop ticks or not."""

    def __init__(self, watch: StallWatch, ticks: list[bool]) -> None:
        self._watch = watch
        self._ticks = iter(ticks)

    def wait(self, timeout_s: float) -> bool:
        tick = next(self._ticks, None)
        self._watch._ticks += bool(tick)
        return tick is None


@pytest.mark.parametrize(
    ("ticks", "stalls"),
    [
        ([True] * 8, 0),
        ([True, False, True, False, True], 0),
        ([True, False, False, False, False], 1),
        ([True, False, False, True, False, False], 2),
    ],
)
def test_a_loop_that_does_not_turn_is_told_from_a_thread(ticks: list[bool], stalls: int) -> None:
    fed = Fed(10.0)
    closed: Any = Ticks(fed.watch, ticks)
    fed.watch._closed = closed
    fed.watch._watch_loop()
    told = [fields for event, fields in fed.lines if event == "stalled"]
    assert [fields["part"] for fields in told] == ["event loop"] * stalls
    assert fed.heard.of("WATCHDOG") == []
