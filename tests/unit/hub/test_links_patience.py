"""Patience grows while looks find little, shrinks while they find much, and ends with the load."""

from __future__ import annotations

import pytest

from arbd.hub.base import PATIENCE_S
from arbd.hub.links.patience import LONGEST_S, WORTH, Patience


def after(*found: int) -> float:
    patience = Patience()
    for records in found:
        patience.found(records)
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
    patience.found(20)
    patience.reset()
    assert patience.seconds == PATIENCE_S


@pytest.mark.parametrize("rate", [100, 400, 1_500, 3_000, 12_000, 100_000])
def test_at_an_even_rate_it_settles(rate: int) -> None:
    """So many records a second, each look as late as patience says: soon every look finds
    enough, or comes as late as may be, or at once."""
    patience = Patience()
    for _ in range(100):
        patience.found(round(rate * patience.seconds))
    found = rate * patience.seconds
    assert WORTH <= found <= 2 * WORTH or patience.seconds in (pytest.approx(PATIENCE_S), LONGEST_S)
