"""A worker that cannot boot is tried again after growing pauses, and given up after so many failures in a row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.core.restarts import FIRST_PAUSE_S, MAX_BOOT_FAILURES, Restarts

PAUSES: list[float | None] = [0.1, 0.2, 0.4, 0.8, None]


def test_pauses_double_and_then_it_gives_up() -> None:
    restarts = Restarts()
    assert [restarts.boot_failed() for _ in PAUSES] == PAUSES
    assert (PAUSES[0], len(PAUSES)) == (FIRST_PAUSE_S, MAX_BOOT_FAILURES)


def test_it_does_not_begin_again_after_giving_up() -> None:
    restarts = Restarts()
    assert [restarts.boot_failed() for _ in range(10)][MAX_BOOT_FAILURES - 1 :] == [None] * 6


@given(st.lists(st.booleans()))
def test_only_failures_in_a_row_count(boots: list[bool]) -> None:
    restarts = Restarts()
    in_a_row = 0
    for booted in boots:
        if booted:
            restarts.booted()
            in_a_row = 0
        else:
            assert restarts.boot_failed() == PAUSES[min(in_a_row, len(PAUSES) - 1)]
            in_a_row += 1
