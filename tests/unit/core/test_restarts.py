"""What cannot start is tried again after growing pauses, and given up after so many failures in a row; never while
others serve."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.core.restarts import LONGEST_PAUSE_S, MAX_CODE_FAILURES, MAX_MACHINE_FAILURES, Restarts

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
