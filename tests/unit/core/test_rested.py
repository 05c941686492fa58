"""A worker that has worked and then rested for a while is rung once, until it has worked again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.core.rested import Rested, Work


def test_one_that_rests_between_two_looks_is_rung_once() -> None:
    rested = Rested()
    assert rested.look([Work(1, 5, True)]) == []
    assert not rested.are_all
    assert rested.look([Work(1, 5, True)]) == [1]
    assert rested.are_all
    assert rested.look([Work(1, 5, True)]) == []
    assert rested.look([Work(1, 6, True)]) == []
    assert rested.look([Work(1, 6, True)]) == [1]


def test_one_that_does_not_sleep_yet_is_waited_for() -> None:
    rested = Rested()
    for _ in range(3):
        assert rested.look([Work(1, 0, False)]) == []
        assert not rested.are_all
    rested.look([Work(1, 1, True)])
    assert rested.look([Work(1, 1, True)]) == [1]


def test_one_that_is_busy_or_has_done_nothing_is_not() -> None:
    rested = Rested()
    for done in range(5):
        assert rested.look([Work(1, done, True), Work(2, 3, False), Work(3, 0, True)]) == []
    assert not rested.are_all  # the second may end, and the first rest


def test_who_is_gone_is_forgotten_and_a_new_one_is_judged_by_itself() -> None:
    rested = Rested()
    rested.look([Work(1, 5, True)])
    assert rested.look([]) == []
    assert rested.are_all
    assert rested.look([Work(1, 5, True)]) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=50))
def test_each_rest_is_rung_for_exactly_once(steps: list[tuple[int, bool]]) -> None:
    rested, done, rung_at = Rested(), 0, []
    for more, is_asleep in [*steps, (0, True), (0, True)]:
        done += more
        if rested.look([Work(1, done, is_asleep)]):
            assert is_asleep
            rung_at.append(done)
    assert rung_at == sorted(set(rung_at))
    assert not done or rung_at[-1] == done
