"""Totals are exact to a slice of their window; a level changes once per crossing."""

from __future__ import annotations

from arbd.rate_limit.usage import CRITICAL, NORMAL, WARNING, Thresholds, Totals, UsageMeter

SECOND = 1_000_000_000


def test_totals_are_those_of_the_window() -> None:
    meter = UsageMeter(60 * SECOND)
    meter.add(1 * SECOND, 2, 30, 20)
    meter.add(40 * SECOND, 1, 3, 2)
    assert meter.totals(59 * SECOND) == Totals(3, 33, 22)
    assert meter.totals(62 * SECOND) == Totals(1, 3, 2)
    assert meter.totals(200 * SECOND) == Totals(0, 0, 0)


def test_a_meter_stays_small() -> None:
    meter = UsageMeter(60 * SECOND)
    for second in range(10_000):
        meter.add(second * SECOND, 1, 1, 1)
        meter.totals(second * SECOND)
    assert len(meter._slices) <= 61


def test_a_level_is_left_only_well_below_its_threshold() -> None:
    thresholds = Thresholds(0.8, 0.9)
    usages = (0.5, 0.8, 0.79, 0.8, 0.73, 0.71, 0.95, 0.85, 0.82, 0.8, 0.2)
    levels = [(thresholds.update(usage), thresholds.level) for usage in usages]
    assert levels == [
        (False, NORMAL),
        (True, WARNING),
        (False, WARNING),
        (False, WARNING),
        (False, WARNING),
        (True, NORMAL),
        (True, CRITICAL),
        (False, CRITICAL),
        (False, CRITICAL),
        (True, WARNING),
        (True, NORMAL),
    ]


def test_a_fall_from_the_top_goes_all_the_way_at_once() -> None:
    thresholds = Thresholds(0.8, 0.9)
    thresholds.update(1.0)
    assert thresholds.update(0.0)
    assert thresholds.level == NORMAL
