"""Business hours are right to the minute in every time zone, also on the days when the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples

from arbd.rate_limit.algorithms.base import NEVER_NS, Closed
from arbd.rate_limit.algorithms.calendar import ByHours, Hours, parse_days, parse_hours
from arbd.rate_limit.algorithms.window import SlidingWindow
from arbd.zones import zone

SECOND: Final = 1_000_000_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def ns(year: int, month: int, day: int, hour: int = 0, minute: int = 0, timezone: str = "UTC", fold: int = 0) -> int:
    local = datetime(year, month, day, hour, minute, tzinfo=zone(timezone), fold=fold)
    return (local - EPOCH) // timedelta(microseconds=1) * 1000


def hours(text: str = "09:00-18:00", days: str = "mon-fri", timezone: str = "UTC") -> Hours:
    return Hours(parse_hours(text), parse_days(days), zone(timezone))


def test_open_from_the_first_moment_to_the_last() -> None:
    open_hours = hours()
    opens, closes = ns(2024, 3, 20, 9), ns(2024, 3, 20, 18)  # a Wednesday
    assert [open_hours.is_open(t) for t in (opens - 1, opens, closes - 1, closes)] == [False, True, True, False]
    assert open_hours.change_after(opens - 1) == opens
    assert open_hours.change_after(opens) == closes
    assert open_hours.change_after(closes) == ns(2024, 3, 21, 9)


def test_closed_over_the_weekend() -> None:
    friday_evening = ns(2024, 3, 22, 18)
    assert hours().change_after(friday_evening) == ns(2024, 3, 25, 9)
    assert not hours().is_open(ns(2024, 3, 23, 12))


@pytest.mark.parametrize(("day", "utc_hour"), [(29, 8), (31, 7)])  # Berlin goes to summer time on Sunday 31 March 2024
def test_hours_follow_daylight_saving(day: int, utc_hour: int) -> None:
    open_hours = hours(days="mon-sun", timezone="Europe/Berlin")
    opens = ns(2024, 3, day, utc_hour)
    assert [open_hours.is_open(opens - 1), open_hours.is_open(opens)] == [False, True]


def test_a_night_that_is_an_hour_short_or_long() -> None:
    nights = hours("22:00-06:00", "mon-sun", "Europe/Berlin")
    short = nights.change_after(ns(2024, 3, 30, 22, 0, "Europe/Berlin")) - ns(2024, 3, 30, 22, 0, "Europe/Berlin")
    long = nights.change_after(ns(2024, 10, 26, 22, 0, "Europe/Berlin")) - ns(2024, 10, 26, 22, 0, "Europe/Berlin")
    assert (short, long) == (7 * 3600 * SECOND, 9 * 3600 * SECOND)


def test_hours_that_the_clock_skips_do_not_take_place() -> None:
    open_hours = hours("02:10-02:50", "sun", "Europe/Berlin")
    assert open_hours.change_after(ns(2024, 3, 30)) == ns(2024, 4, 7, 2, 10, "Europe/Berlin")


def test_hours_that_come_twice_last_from_their_first_start_to_their_last_end() -> None:
    open_hours = hours("02:10-02:50", "sun", "Europe/Berlin")
    opens = ns(2024, 10, 27, 2, 10, "Europe/Berlin", fold=0)
    assert open_hours.change_after(ns(2024, 10, 27, 0)) == opens
    assert open_hours.change_after(opens) == ns(2024, 10, 27, 2, 50, "Europe/Berlin", fold=1)


def test_a_friday_night_belongs_to_friday() -> None:
    nights = hours("22:00-06:00", "fri")
    assert nights.is_open(ns(2024, 3, 23, 5))  # Saturday morning
    assert not nights.is_open(ns(2024, 3, 22, 5))  # Friday morning


def test_two_spans_that_touch_are_one() -> None:
    open_hours = hours("09:00-12:00, 12:00-15:00")
    assert open_hours.change_after(ns(2024, 3, 20, 10)) == ns(2024, 3, 20, 15)


def test_hours_that_never_close() -> None:
    always = hours("00:00-24:00", "mon-sun")
    now = ns(2024, 3, 20, 10)
    assert always.is_open(now)
    assert always.change_after(now) > now


@settings(max_examples=examples(200))
@given(
    minutes=st.integers(0, 366 * 24 * 60 * 3),
    timezone=st.sampled_from(["Europe/Moscow", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
    span=st.tuples(st.integers(0, 1439), st.integers(1, 1440)).filter(lambda span: span[0] < span[1]),
)
def test_it_agrees_with_the_clock_on_the_wall(minutes: int, timezone: str, span: tuple[int, int]) -> None:
    moment = datetime(2023, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    local = moment.astimezone(zone(timezone))
    around = [(moment + timedelta(hours=h)).astimezone(zone(timezone)).utcoffset() for h in range(-30, 31)]
    open_hours = Hours([span], range(7), zone(timezone))
    if len(set(around)) == 1:  # no change of the clocks nearby: the reading of the clock decides
        assert open_hours.is_open((moment - EPOCH) // timedelta(microseconds=1) * 1000) == (
            span[0] <= local.hour * 60 + local.minute < span[1]
        )


@pytest.mark.parametrize("text", ["9-18", "09:00", "25:00-26:00", "09:60-10:00", "", "09:00-18:00;", "24:00-25:00"])
def test_hours_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="business_hours"):
        parse_hours(text)


@pytest.mark.parametrize(
    ("text", "days"),
    [("mon-fri", [0, 1, 2, 3, 4]), ("sat,sun", [5, 6]), ("fri-mon", [0, 4, 5, 6]), ("Wednesday", [2]), (["tue"], [1])],
)
def test_days_in_words(text: str, days: list[int]) -> None:
    assert parse_days(text) == days


@pytest.mark.parametrize("text", ["", "today", "mon-", "mon-xyz"])
def test_days_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="weekday"):
        parse_days(text)


# -- limits by the hour ----------------------------------------------------------------------------------------------

MONOTONIC: Final = 5_000 * SECOND


def by_hours(now_utc: int, outside: SlidingWindow | Closed) -> ByHours:
    limit = ByHours(hours(), SlidingWindow(10, SECOND), outside)
    limit.set_utc(MONOTONIC, now_utc)
    return limit


def test_each_time_has_its_own_limit() -> None:
    inside = by_hours(ns(2024, 3, 20, 12), SlidingWindow(2, SECOND))
    outside = by_hours(ns(2024, 3, 20, 20), SlidingWindow(2, SECOND))
    assert (inside.available(MONOTONIC, 0), outside.available(MONOTONIC, 0)) == (10, 2)


def test_who_is_shut_out_is_told_when_it_opens() -> None:
    limit = by_hours(ns(2024, 3, 22, 18), Closed())
    assert limit.available(MONOTONIC, 0) == 0
    weekend = ns(2024, 3, 25, 9) - ns(2024, 3, 22, 18)
    assert limit.next_at(MONOTONIC, 0) == MONOTONIC + weekend
    assert limit.available(MONOTONIC + weekend, 0) == 10


def test_the_next_start_may_lie_behind_a_change() -> None:
    limit = by_hours(ns(2024, 3, 20, 17, 59), SlidingWindow(1, 3600 * SECOND))
    limit.spend(MONOTONIC, 10)
    assert limit.next_at(MONOTONIC, 0) == MONOTONIC + SECOND
    limit = ByHours(hours(), SlidingWindow(1, 7200 * SECOND), SlidingWindow(1, 1800 * SECOND))
    limit.set_utc(MONOTONIC, ns(2024, 3, 20, 17, 50))
    limit.spend(MONOTONIC, 1)
    assert limit.next_at(MONOTONIC, 0) == MONOTONIC + 1800 * SECOND


def test_calls_before_a_change_count_after_it() -> None:
    limit = by_hours(ns(2024, 3, 20, 17, 59), SlidingWindow(2, 3600 * SECOND))
    limit.spend(MONOTONIC, 2)
    assert limit.available(MONOTONIC + 120 * SECOND, 0) == 0


def test_nothing_to_hope_for_is_said_too() -> None:
    limit = ByHours(hours(), Closed(), Closed())
    limit.set_utc(MONOTONIC, ns(2024, 3, 20, 12))
    assert MONOTONIC < limit.next_at(MONOTONIC, 0) < NEVER_NS
