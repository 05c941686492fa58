"""What cannot start is tried again after growing pauses, and given up after so many failures in a row; never while
others serve."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.core.restarts import (
    LONGEST_PAUSE_S,
    LONGEST_TASK_PAUSE_S,
    LONGEST_UNFIT_PAUSE_S,
    MAX_CODE_FAILURES,
    MAX_MACHINE_FAILURES,
    Restarts,
    SlotRestarts,
    half_jitter,
)

CODE: list[float | None] = [0.1, 0.2, 0.4, 0.8, None]
MACHINE: list[float | None] = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, None]


def fail(restarts: Restarts, *, by_machine: bool = False, others_serve: bool = False) -> float | None:
    return restarts.failed(by_machine=by_machine, others_serve=others_serve)


def test_pauses_double_and_then_it_gives_up() -> None:
    restarts = Restarts()
    assert [fail(restarts) for _ in CODE] == CODE
    assert len(CODE) == MAX_CODE_FAILURES


def test_a_machine_that_has_nothing_to_give_is_met_with_more_patience() -> None:
    restarts = Restarts()
    assert [fail(restarts, by_machine=True) for _ in MACHINE] == MACHINE
    assert len(MACHINE) == MAX_MACHINE_FAILURES


def test_it_does_not_begin_again_after_giving_up() -> None:
    restarts = Restarts()
    assert [fail(restarts) for _ in range(10)][MAX_CODE_FAILURES - 1 :] == [None] * 6


@given(st.lists(st.booleans(), max_size=80))
def test_while_others_serve_there_is_no_reason_to_give_up(by_machine: list[bool]) -> None:
    restarts = Restarts()
    pauses = [fail(restarts, by_machine=each, others_serve=True) for each in by_machine]
    assert all(pause is not None and 0 < pause <= LONGEST_PAUSE_S for pause in pauses)


@given(st.lists(st.booleans()))
def test_only_failures_in_a_row_count(starts: list[bool]) -> None:
    restarts = Restarts()
    in_a_row = 0
    for succeeded in starts:
        if succeeded:
            restarts.succeeded()
            in_a_row = 0
        else:
            assert fail(restarts) == CODE[min(in_a_row, len(CODE) - 1)]
            in_a_row += 1


# -- one slot --------------------------------------------------------------------------------------------------------


def test_the_first_that_dies_in_its_first_task_is_replaced_at_once_and_the_next_ones_soon() -> None:
    slot = SlotRestarts()
    pauses = [slot.ended_at_first_task() for _ in range(8)]
    assert pauses[:4] == [0.0, 0.01, 0.02, 0.04]
    assert max(pauses) == LONGEST_TASK_PAUSE_S


def test_one_that_dies_before_any_task_waits_longer_each_time() -> None:
    slot = SlotRestarts()
    pauses = [slot.ended_idle() for _ in range(8)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert max(pauses) == LONGEST_PAUSE_S


def test_one_that_has_worked_ends_the_row() -> None:
    slot = SlotRestarts()
    for _ in range(3):
        slot.ended_at_first_task()
        slot.ended_idle()
    slot.worked()
    assert (slot.ended_at_first_task(), slot.ended_idle()) == (0.0, 0.1)


def test_an_unfit_one_has_pauses_of_its_own_without_end() -> None:
    slot = SlotRestarts(jitter=float)
    pauses = [slot.was_unfit() for _ in range(20)]
    assert pauses[:3] == [0.25, 0.5, 1.0]
    assert pauses[-1] == LONGEST_UNFIT_PAUSE_S
    slot.worked()
    assert slot.was_unfit() == LONGEST_UNFIT_PAUSE_S
    slot.was_fit()
    assert slot.was_unfit() == 0.25


@given(st.floats(0.01, 100))
def test_half_of_such_a_pause_is_random(pause_s: float) -> None:
    assert pause_s / 2 <= half_jitter(pause_s) <= pause_s
