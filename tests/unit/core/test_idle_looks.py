"""A worker that has worked and then slept for a while is rung once, until it has worked again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.core.idle_looks import IdleLooks, Work


def test_one_that_does_nothing_between_two_questions_is_rung_once() -> None:
    looks = IdleLooks()
    assert looks.due([Work(1, 5, True)]) == []
    assert looks.due([Work(1, 5, True)]) == [1]
    assert looks.due([Work(1, 5, True)]) == []
    assert looks.due([Work(1, 6, True)]) == []
    assert looks.due([Work(1, 6, True)]) == [1]


def test_it_is_over_once_nobody_was_left_twice_in_a_row() -> None:
    looks = IdleLooks()
    over = []
    for _ in range(4):
        looks.due([Work(1, 5, True), Work(2, 0, False)])  # the second is in its first task, however long
        over.append(looks.is_over)
    assert over == [False, False, True, True]
    looks.due([Work(1, 5, True), Work(2, 1, True)])  # it has answered, and only then counted
    assert not looks.is_over


def test_it_is_not_over_while_somebody_answers() -> None:
    looks = IdleLooks()
    for _ in range(3):
        looks.due([Work(1, 5, True)])
        looks.answered()  # of what it did since, which it counts in a moment
    assert not looks.is_over
    looks.due([Work(1, 6, True)])
    assert looks.due([Work(1, 6, True)]) == [1]


def test_one_that_is_busy_or_has_done_nothing_is_not_rung() -> None:
    looks = IdleLooks()
    for done in range(5):
        assert looks.due([Work(1, done, True), Work(2, 3, False), Work(3, 0, True)]) == []
    assert not looks.is_over  # the second may end, and the first be idle


def test_who_is_gone_is_forgotten_and_a_new_one_is_judged_by_itself() -> None:
    looks = IdleLooks()
    looks.due([Work(1, 5, True)])
    assert looks.due([]) == []
    assert looks.due([Work(1, 5, True)]) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=50))
def test_each_idleness_is_rung_for_exactly_once(steps: list[tuple[int, bool]]) -> None:
    looks, done, rung_at = IdleLooks(), 0, []
    for more, is_asleep in [*steps, (0, True), (0, True)]:
        done += more
        if looks.due([Work(1, done, is_asleep)]):
            assert is_asleep
            rung_at.append(done)
    assert rung_at == sorted(set(rung_at))
    assert not done or rung_at[-1] == done
