"""``hub.links = auto`` adds a link when the calls are what holds the workers back, takes one away after long idleness,
and does not swing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.links.processes.autoscale import Autoscale, Second

HELD_BACK = Second(tasks=3000, empty=0, idle=0.9, caller_cpu=0.95, supervisor_cpu=0.95)
RELIEVED = HELD_BACK._replace(supervisor_cpu=0.2)  # the same with link processes: the supervisor has time
IDLE = Second(tasks=0, empty=1, idle=1.0, caller_cpu=0.0, supervisor_cpu=0.0)


def after(scale: Autoscale, second: Second, looks: int) -> int:
    for _ in range(looks):
        scale.look(second)
    return scale.count


def test_it_begins_with_none_and_adds_one_after_three_seconds() -> None:
    scale = Autoscale(most=4)
    assert scale.count == 0
    assert [scale.look(HELD_BACK) for _ in range(4)] == [0, 0, 1, 1]


def test_it_adds_more_while_links_are_busy_and_the_supervisor_is_not() -> None:
    scale = Autoscale(most=3)
    assert after(scale, HELD_BACK, 3) == 1
    assert after(scale, RELIEVED, 3) == 2
    assert after(scale, RELIEVED, 30) == 3


def test_it_adds_none_once_the_supervisor_is_full() -> None:
    scale = Autoscale(most=3)
    after(scale, HELD_BACK, 3)
    assert after(scale, HELD_BACK._replace(supervisor_cpu=0.97), 30) == 1


@pytest.mark.parametrize(
    "second",
    [
        HELD_BACK._replace(tasks=0),
        HELD_BACK._replace(empty=300),  # the hub has no more
        HELD_BACK._replace(idle=0.1),  # the workers are what is busy
        HELD_BACK._replace(caller_cpu=0.5, supervisor_cpu=0.5),  # the hub is slow
    ],
    ids=["no tasks", "hub empty", "workers busy", "hub slow"],
)
def test_it_adds_none_where_another_link_would_not_help(second: Second) -> None:
    assert after(Autoscale(most=4), second, 100) == 0


def test_one_quiet_second_begins_the_row_anew() -> None:
    scale = Autoscale(most=4)
    assert [scale.look(second) for second in [HELD_BACK, HELD_BACK, IDLE] * 20] == [0] * 60


def test_it_takes_them_away_one_by_one_after_a_minute_each() -> None:
    scale = Autoscale(most=4)
    after(scale, HELD_BACK, 3)
    after(scale, RELIEVED, 3)
    assert after(scale, IDLE, 59) == 2
    assert after(scale, IDLE, 1) == 1
    assert after(scale, IDLE, 59) == 1
    assert after(scale, IDLE, 1) == 0
    assert after(scale, IDLE, 1000) == 0


def test_it_keeps_what_the_rest_could_not_do() -> None:
    scale = Autoscale(most=4)
    after(scale, HELD_BACK, 3)
    after(scale, RELIEVED, 3)
    half = Second(tasks=1000, empty=500, idle=0.9, caller_cpu=0.3, supervisor_cpu=0.1)
    assert after(scale, half, 1000) == 2  # one link alone would be at 0.6


def test_a_load_that_comes_back_makes_it_more_patient() -> None:
    scale = Autoscale(most=1)
    waits = []
    for _ in range(9):
        after(scale, HELD_BACK, 3)
        seconds = 0
        while scale.count:
            scale.look(IDLE)
            seconds += 1
        waits.append(seconds)
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_none_are_added_where_there_is_no_room() -> None:
    assert after(Autoscale(most=0), HELD_BACK, 100) == 0


seconds = st.builds(
    Second, st.integers(0, 5000), st.integers(0, 5000), st.floats(0, 1), st.floats(0, 1.2), st.floats(0, 1.2)
)


@given(
    most=st.integers(0, 5),
    looks=st.lists(st.one_of(st.sampled_from([HELD_BACK, RELIEVED, IDLE]), seconds), max_size=200),
    shrink_after=st.integers(1, 5),
)
def test_it_moves_by_one_and_never_fast(most: int, looks: list[Second], shrink_after: int) -> None:
    scale = Autoscale(most, shrink_after=shrink_after)
    before, since_change = 0, 10**6
    for second in looks:
        count = scale.look(second)
        since_change += 1
        assert 0 <= count <= most
        assert abs(count - before) <= 1
        if count > before:
            assert since_change >= 3
        if count < before:
            assert since_change >= shrink_after
        if count != before:
            since_change = 0
        before = count
