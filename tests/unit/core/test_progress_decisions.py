"""A part that has something to do, could do it and does not is found within two looks; whatever else a daemon waits for
is no stall, and nothing that moves is ever judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.core.progress import MOST_STEP_S, Sight, Stall, Stalls, Unmoved

STALLED = {
    "dispatch": Sight(first_in_line=7, has_idle_worker=True),
    "results": Sight(unread=frozenset({(1, 64)})),
    "sending": Sight(first_result=5, hub_is_up=True, link_may_send=True, sent=(3, 2)),
    "link": Sight(overdue="its task has ended"),
}

FINE = {
    "idle": Sight(hub_is_up=True, link_may_send=True),
    "every worker has a long task, others wait": Sight(first_in_line=7, has_idle_worker=False, hub_is_up=True),
    "the hub is down, with results that wait": Sight(first_result=5, hub_is_up=False, link_may_send=True),
    "the hub takes its time with those before it": Sight(first_result=5, hub_is_up=True, link_may_send=False),
    "the hub refuses results, which are put aside": Sight(first_result=None, hub_is_up=True, link_may_send=True),
}


def looks(sight: Sight, seconds: float, every_s: float = 1.0) -> list[Stall | None]:
    stalls = Stalls()
    return [stalls.look(100.0 + number * every_s, sight) for number in range(round(seconds / every_s) + 1)]


@pytest.mark.parametrize("part", STALLED)
def test_what_could_go_on_and_does_not_is_found(part: str) -> None:
    found = looks(STALLED[part], 3.0)[-1]
    assert found is not None
    assert (found.part, found.seconds) == (part, 3.0)
    assert found.what


@pytest.mark.parametrize("part", STALLED)
def test_at_the_second_look_or_the_first_where_it_is_overdue_already(part: str) -> None:
    first, second = looks(STALLED[part], 1.0)
    assert (first is not None) == (part == "link")
    assert second is not None


@pytest.mark.parametrize("case", FINE)
def test_what_waits_for_others_is_no_stall(case: str) -> None:
    assert looks(FINE[case], 600.0) == [None] * 601


@pytest.mark.parametrize(
    "then",
    [
        Sight(first_in_line=8, has_idle_worker=True),
        Sight(first_in_line=7, has_idle_worker=True, tried_at=1.0),  # no memory for it: it is tried over and over
        Sight(first_in_line=7, has_idle_worker=False),
        Sight(),
    ],
)
def test_a_part_that_moves_has_all_its_time_again(then: Sight) -> None:
    stalls = Stalls()
    for now in range(5):
        stalls.look(now, STALLED["dispatch"])
    assert stalls.look(5.0, then) is None
    assert stalls.look(6.0, STALLED["dispatch"]) is None


def test_the_part_that_has_waited_longest_is_named() -> None:
    stalls = Stalls()
    stalls.look(0.0, STALLED["sending"])
    both = STALLED["sending"]._replace(first_in_line=7, has_idle_worker=True)
    stalls.look(1.0, both)
    found = stalls.look(2.0, both)
    assert found is not None
    assert (found.part, found.seconds) == ("sending", 2.0)


def test_time_in_which_nobody_looked_does_not_count() -> None:
    """The daemon as a whole was stopped; what it had been about to do it does now."""
    stalls = Stalls()
    stalls.look(0.0, STALLED["results"])
    found = stalls.look(3600.0, STALLED["results"])
    assert found is not None
    assert found.seconds == MOST_STEP_S


def test_a_clock_that_goes_back_counts_nothing() -> None:
    unmoved = Unmoved()
    assert [unmoved.look(now, True) for now in (5.0, 4.0, 5.0)] == [0.0, 0.0, 1.0]


@given(st.lists(st.tuples(st.floats(0.01, 1.0), st.booleans(), st.booleans()), max_size=60))
def test_nothing_is_ever_a_stall_while_something_moves(steps: list[tuple[float, bool, bool]]) -> None:
    """Each look finds the parts that wait moved since the one before, or waiting for others."""
    stalls, now = Stalls(), 0.0
    for number, (step_s, has_work, could) in enumerate(steps):
        now += step_s
        sight = Sight(
            first_in_line=number if has_work else None,
            has_idle_worker=could,
            unread=frozenset({(1, number)}) if has_work else frozenset(),
            first_result=7 if has_work else None,
            hub_is_up=could,
            link_may_send=True,
            sent=(number,),
        )
        assert stalls.look(now, sight) is None


@given(st.lists(st.floats(0.01, MOST_STEP_S), min_size=1, max_size=60), st.sampled_from(sorted(STALLED)))
def test_a_stall_is_as_long_as_it_was_looked_at(steps: list[float], part: str) -> None:
    stalls, now = Stalls(), 0.0
    stalls.look(now, STALLED[part])
    for step_s in steps:
        now += step_s
        found = stalls.look(now, STALLED[part])
    assert found is not None
    assert found.seconds == pytest.approx(now)
