"""Patience grows while looks find little, shrinks while they find much, and ends with the load."""

from __future__ import annotations

import pytest

from arbd.links.base import PATIENCE_S
from arbd.links.processes.patience import LONGEST_S, WORTH, Patience


def after(*found: int) -> float:
    """Seconds of patience after looks that found so many, each as late as patience said."""
    patience, now = Patience(), 0.0
    patience.found(0, now)
    for count in found:
        now += patience.seconds
        patience.found(count, now)
    return patience.seconds


def test_the_first_wait_is_the_shortest() -> None:
    assert Patience().seconds == PATIENCE_S


def test_it_grows_by_steps_to_the_longest() -> None:
    assert after(20) == pytest.approx(2 * PATIENCE_S)
    assert after(*[WORTH - 1] * 100) == LONGEST_S


def test_what_is_worth_it_changes_nothing() -> None:
    assert after(20, WORTH, 2 * WORTH) == after(20)


def test_it_shrinks_by_steps_to_the_shortest() -> None:
    assert after(20, 20, 2 * WORTH + 1) == pytest.approx(2 * PATIENCE_S)
    assert after(20, *[1000] * 100) == PATIENCE_S


def test_where_little_comes_nobody_waits_for_it() -> None:
    assert after(20, 20, 1) == pytest.approx(2 * PATIENCE_S)


def test_it_ends_with_the_load() -> None:
    patience = Patience()
    patience.found(0, 0.0)
    patience.found(20, PATIENCE_S)
    assert patience.seconds > PATIENCE_S
    patience.reset()
    assert patience.seconds == PATIENCE_S


@pytest.mark.parametrize("rate", [100, 400, 1_500, 3_000, 12_000, 100_000])
def test_at_an_even_rate_it_settles(rate: int) -> None:
    """So many records a second, each look as late as patience says: soon every look finds
    enough, or comes as late as may be, or at once."""
    patience, now = Patience(), 0.0
    for _ in range(100):
        now += patience.seconds
        patience.found(round(rate * patience.seconds), now)
    found = rate * patience.seconds
    assert WORTH <= found <= 2 * WORTH or patience.seconds in (pytest.approx(PATIENCE_S), LONGEST_S)


def test_looks_that_come_sooner_count_towards_the_next() -> None:
    patience = Patience()
    patience.found(0, 0.0)
    for now in (0.2 * PATIENCE_S, 0.6 * PATIENCE_S):
        patience.found(10, now)
        assert patience.seconds == PATIENCE_S
    patience.found(0, PATIENCE_S)
    assert patience.seconds == pytest.approx(2 * PATIENCE_S)
