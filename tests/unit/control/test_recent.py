"""Points and rates are differences of counters: right over resets, gaps and empty times, and bounded in number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.control.recent import PERIOD_S, POINTS, WINDOW, ActionReading, Reading, Recent, increase, quantile

BOUNDS = [1.0, 2.0, 4.0, 8.0]


def reading(at_s: float, success: int = 0, error: int = 0, *took: int, **more: object) -> Reading:
    """Of one action; runs and tasks took the same."""
    buckets = list(took) or [0, 0, 0, 0]
    action = ActionReading({"success": success, "error": error}, run=buckets, wait=buckets)
    return Reading(at_s, 1000 + at_s, {"quote": action}, buckets, **more)  # type: ignore[arg-type]  # a test's own keys


def recent(*readings: Reading) -> Recent:
    """After these."""
    found = Recent(BOUNDS)
    for each in readings:
        found.add(each)
    return found


def test_a_first_reading_gives_a_point_without_rates() -> None:
    (point,) = recent(reading(10, 500, in_flight=7, outbox=2)).points
    assert (point.at, point.in_flight, point.outbox) == (1010, 7, 2)
    assert (point.success, point.error, point.limit, point.p50_s, point.busy) == (None,) * 5


def test_rates_are_per_second_of_the_time_between_two_readings() -> None:
    point = recent(reading(10, 500, 3), reading(12.5, 750, 13)).points[-1]
    assert (point.success, point.error, point.limit) == (100, 4, 0)


def test_percentiles_are_of_what_was_answered_in_between() -> None:
    point = recent(reading(10, 0, 0, 1000, 0, 0, 0), reading(12, 0, 0, 1000, 0, 4, 0)).points[-1]
    assert point.p50_s == 3.0
    assert point.p99_s == pytest.approx(3.98)


def test_where_nothing_was_answered_there_is_a_rate_of_zero_and_no_percentile() -> None:
    point = recent(reading(10, 5, 0, 5, 0, 0, 0), reading(12, 5, 0, 5, 0, 0, 0)).points[-1]
    assert (point.success, point.p50_s, point.p99_s) == (0, None, None)


def test_a_counter_that_fell_began_anew() -> None:
    assert (increase(7, 3), increase(3, 7), increase(7, 7)) == (4, 3, 0)
    point = recent(reading(10, 500, 0, 9, 9, 9, 9), reading(12, 20, 0, 0, 2, 0, 0)).points[-1]
    assert (point.success, point.p50_s) == (10, 1.5)


def test_an_action_that_came_counts_from_zero_and_one_that_went_not_at_all() -> None:
    before = reading(10, 500)
    other = {"resize": ActionReading({"success": 8})}
    found = recent(before, before._replace(at_s=12, actions=other))
    assert found.points[-1].success == 4
    assert [each.name for each in found.actions()] == ["resize"]


def test_after_a_gap_nothing_is_said_about_it() -> None:
    found = recent(reading(10, 500), reading(12, 510), reading(12 + 4 * PERIOD_S, 9000), reading(22, 9100))
    assert [point.success for point in found.points] == [None, 5, None, 50]
    assert found.actions()[0].success == 50


def test_two_readings_of_one_moment_are_one() -> None:
    found = recent(reading(10, 500), reading(10, 510), reading(10.0001, 510), reading(9, 1))
    assert len(found.points) == 1


def test_the_points_are_those_of_the_last_ten_minutes() -> None:
    found = recent(*(reading(PERIOD_S * number, number) for number in range(POINTS + 50)))
    assert len(found.points) == POINTS
    assert POINTS * PERIOD_S == 600
    assert found.points[0].at == 1000 + PERIOD_S * 50


def test_rates_of_actions_are_of_the_last_readings() -> None:
    quick = [reading(PERIOD_S * number, 100 * number, 0, number, 0, 0, 0) for number in range(WINDOW + 20)]
    (action,) = recent(*quick).actions()
    assert (action.name, action.span_s, action.success) == ("quote", WINDOW * PERIOD_S, 100 / PERIOD_S)
    assert action.run_p50_s == 0.5
    assert action.wait_p99_s == pytest.approx(0.99)


def test_before_two_readings_no_action_has_rates() -> None:
    assert recent().actions() == recent(reading(1)).actions() == []


def test_busy_is_the_mean_over_the_workers_that_were_there_before() -> None:
    before = reading(10, busy_s={1: 5.0, 2: 8.0, 3: 1.0})
    now = reading(12, busy_s={1: 6.0, 2: 10.5, 4: 2.0})
    assert recent(before, now).points[-1].busy == pytest.approx((0.5 + 1.0) / 2)


def test_without_a_worker_that_was_there_before_nobody_knows_how_busy_they_are() -> None:
    assert recent(reading(10, busy_s={1: 5.0}), reading(12, busy_s={2: 1.0})).points[-1].busy is None


def test_what_lies_beyond_the_last_bound_counts_as_that() -> None:
    assert quantile(0.5, [0, 0, 0, 0, 10], BOUNDS) == 8.0


def test_of_an_empty_histogram_there_is_no_quantile() -> None:
    assert quantile(0.5, [0, 0, 0, 0], BOUNDS) is None
    assert quantile(0.5, [], BOUNDS) is None


@given(st.lists(st.integers(0, 10**12), min_size=4, max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_never_has_a_smaller_quantile(buckets: list[int], one: float, other: float) -> None:
    low, high = (quantile(share, buckets, BOUNDS) for share in sorted((one, other)))
    if low is None or high is None:
        assert not sum(buckets)
    else:
        assert 0 <= low <= high <= BOUNDS[-1]


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 10**6)), max_size=40))
def test_whatever_the_counters_do_no_rate_is_negative(steps: list[tuple[float, int]]) -> None:
    """Also where they fall, and time does not go on."""
    found, at = Recent(BOUNDS), 0.0
    for step, success in steps:
        at += step
        found.add(reading(at, success, 0, success, 0, 0, 0))
        assert all(point.success is None or point.success >= 0 for point in found.points)
        assert all(action.success >= 0 for action in found.actions())
