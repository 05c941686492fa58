"""A change is chosen only if it is more than noise, and of equals the one with the fewest changes."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tuning_support import BASE, measured

from arbd.tuning.choose import against, choose
from arbd.tuning.record import Measurement, Point

UNPINNED = msgspec.structs.replace(BASE, pin=False)
FEWER = msgspec.structs.replace(BASE, pin=False, prefetch=16)
UNARY = msgspec.structs.replace(BASE, protocol="unary")


def chosen(rates: dict[Point, list[float]]) -> Point:
    return choose({found.point: found for found in measured(rates)}, BASE)


def around(rate: float, count: int = 8) -> list[float]:
    return [rate * (1 + number / 1000) for number in range(count)]


def test_what_is_better_by_more_than_noise_is_chosen() -> None:
    assert chosen({BASE: around(100), UNPINNED: around(150), UNARY: around(20)}) == UNPINNED


def test_what_overlaps_with_the_baseline_is_not() -> None:
    wide = [80.0, 90.0, 100.0, 110.0, 120.0, 130.0]
    assert chosen({BASE: wide, UNPINNED: [rate + 8 for rate in wide]}) == BASE


def test_a_better_median_of_too_few_samples_is_not() -> None:
    assert chosen({BASE: [100.0, 101.0], UNPINNED: [150.0, 151.0]}) == BASE


def test_of_those_that_cannot_be_told_apart_the_one_with_the_fewest_changes_is() -> None:
    assert chosen({BASE: around(100), FEWER: around(150.1), UNPINNED: around(150)}) == UNPINNED


def test_more_changes_are_chosen_if_they_are_worth_more_than_noise() -> None:
    assert chosen({BASE: around(100), FEWER: around(200), UNPINNED: around(150)}) == FEWER


rates = st.lists(st.floats(10, 1000), min_size=1, max_size=8)


@given(st.fixed_dictionaries({BASE: rates, UNPINNED: rates, FEWER: rates, UNARY: rates}))
def test_the_choice_is_the_baseline_or_better_by_more_than_noise(found: dict[Point, list[float]]) -> None:
    good: dict[Point, Measurement] = {each.point: each for each in measured(found)}
    point = choose(good, BASE)
    assert point == BASE or against(good, BASE)[point].kind == "more"
