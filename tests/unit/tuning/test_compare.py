"""A difference is called real if it is more than noise: rarely where there is none, reliably where there is one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from random import Random
from statistics import median
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuning_support import BASE, MACHINE, SETUP, record, sample

from arbd.tuning.compare import changes, compare, p_value, smallest_p
from arbd.tuning.record import Measurement, Record

OTHER = msgspec.structs.replace(BASE, workers=1)
samples = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def by_hand(one: Sequence[float], other: Sequence[float]) -> float:
    """The definition: U of every way to deal the samples out."""

    def u(mine: Sequence[float], theirs: Sequence[float]) -> float:
        return sum((a > b) + (a == b) / 2 for a in mine for b in theirs)

    pooled = [*one, *other]
    centre = len(one) * len(other) / 2
    ways = []
    for chosen in itertools.combinations(range(len(pooled)), len(one)):
        rest = [pooled[at] for at in range(len(pooled)) if at not in chosen]
        ways.append(abs(u([pooled[at] for at in chosen], rest) - centre))
    return sum(way >= abs(u(one, other) - centre) for way in ways) / len(ways)


@given(samples, samples)
def test_the_p_value_is_that_of_the_definition_ties_included(one: list[int], other: list[int]) -> None:
    assert p_value(one, other) == pytest.approx(by_hand(one, other))


@given(samples, samples)
def test_the_sides_are_alike(one: list[int], other: list[int]) -> None:
    assert p_value(one, other) == p_value(other, one)


def test_a_published_example() -> None:
    """Tables of the U test: with 5 and 5 samples, U = 2 is the last that is significant at 5 % (two-sided)."""
    assert p_value([1, 2, 3, 4, 7], [5, 6, 8, 9, 10]) == pytest.approx(8 / 252)
    assert p_value([1, 2, 3, 4, 8], [5, 6, 7, 9, 10]) == pytest.approx(14 / 252)


def test_no_samples_tell_nothing() -> None:
    assert p_value([], [1.0]) == 1.0


def test_few_samples_cannot_tell_much() -> None:
    assert smallest_p(5, 5) == p_value(range(5), range(10, 15)) == 2 / 252
    assert smallest_p(1, 1) == 1.0


def test_many_samples_are_counted_in_no_time() -> None:
    assert p_value(range(50), range(100, 150)) == pytest.approx(2 / math.comb(100, 50))


def test_equal_things_are_rarely_called_different() -> None:
    """In 400 sweeps of 9 points without any difference, about 5 % say anything at all."""
    rng = Random(1)
    alarms = 0
    for _ in range(400):
        pairs = [([rng.gauss(100, 10) for _ in range(5)], [rng.gauss(100, 10) for _ in range(5)]) for _ in range(9)]
        alarms += any(change.kind != "noise" for change in changes(pairs))
    assert alarms <= 0.08 * 400


def test_a_shift_is_found() -> None:
    rng = Random(2)
    found = 0
    for _ in range(100):
        old = [rng.gauss(100, 3) for _ in range(8)]
        new = [rng.gauss(80, 3) for _ in range(8)]
        (change,) = changes([(old, new)])
        found += change.kind == "less"
    assert found >= 99


@given(st.lists(st.floats(50, 150), min_size=5, max_size=9), st.floats(1.6, 4.0))
def test_samples_that_do_not_overlap_differ(old: list[float], factor: float) -> None:
    new = [max(old) * factor + number for number in range(5)]
    (change,) = changes([(old, new)])
    assert change.kind == "more"
    assert change.ratio == pytest.approx(median(new) / median(old))


def test_a_sure_difference_of_less_than_2_percent_is_noise() -> None:
    old = [100.0 + number / 100 for number in range(10)]
    (change,) = changes([(old, [value * 1.015 for value in old])])
    assert (change.kind, change.p < 0.001) == ("noise", True)


def test_the_more_is_looked_at_the_surer_it_must_be() -> None:
    shifted = ([1.0, 2.0, 3.0, 4.0, 7.0], [5.0, 6.0, 8.0, 9.0, 10.0])  # p = 0.032
    equal = ([1.0, 3.0, 5.0, 7.0, 9.0], [2.0, 4.0, 5.0, 6.0, 8.0])
    assert [change.kind for change in changes([shifted])] == ["more"]
    assert {change.kind for change in changes([shifted, *[equal] * 8])} == {"noise"}


# Records ---------------------------------------------------------------------------------------------------------


STEADY = [100.0, 101.0, 102.0, 103.0, 104.0]


def test_a_record_is_not_slower_than_itself() -> None:
    same = record({BASE: STEADY, OTHER: STEADY})
    found = compare(same, same)
    assert (found.is_slower, found.cautions, found.only_old, found.only_new) == (False, [], [], [])
    assert {(row.change.ratio, row.change.kind) for row in found.rows} == {(1.0, "noise")}


def test_what_got_slower_is_named_with_its_ratio() -> None:
    found = compare(record({BASE: STEADY, OTHER: STEADY}), record({BASE: [50.0] * 5, OTHER: [50.0] * 5}))
    assert found.is_slower
    assert [(row.point, row.quantity) for row in found.rows if row.slower] == [(BASE, "tasks/s"), (OTHER, "tasks/s")]
    assert [row.change.ratio for row in found.rows if row.slower] == pytest.approx([50 / 102] * 2)


def test_what_got_faster_is_no_regression() -> None:
    found = compare(record({BASE: STEADY, OTHER: STEADY}), record({BASE: [200.0] * 5, OTHER: [200.0] * 5}))
    assert not found.is_slower
    assert [row.faster for row in found.rows if row.quantity == "tasks/s"] == [True, True]


def test_a_longer_latency_is_slower() -> None:
    def with_latency(idle_s: float) -> Record:
        slow = [sample(100.0, idle_s=idle_s + number * 1e-6) for number in range(5)]
        return msgspec.structs.replace(record({}), measurements=[Measurement(BASE, slow)])

    found = compare(with_latency(0.0005), with_latency(0.001))
    assert [row.quantity for row in found.rows if row.slower] == ["alone, p50"]


def test_more_cpu_is_told_but_is_not_slower() -> None:
    cheap = [sample(100.0) for _ in range(6)]
    dear = [msgspec.structs.replace(each, supervisor_cpu_s=1e-4) for each in cheap]
    old, new = (msgspec.structs.replace(record({}), measurements=[Measurement(BASE, each)]) for each in (cheap, dear))
    found = compare(old, new)
    assert [(row.quantity, row.change.kind) for row in found.rows if row.change.kind != "noise"] == [
        ("CPU supervisor", "more")
    ]
    assert not found.is_slower


def test_points_without_a_counterpart_are_named() -> None:
    found = compare(record({BASE: STEADY}), record({OTHER: STEADY}))
    assert (found.rows, found.only_old, found.only_new) == ([], [BASE], [OTHER])


def test_another_machine_version_or_action_is_said() -> None:
    new = msgspec.structs.replace(
        record({BASE: STEADY}),
        machine=msgspec.structs.replace(MACHINE, cpu="6502", packages={"arbd": "0.2.0"}),
        setup=msgspec.structs.replace(SETUP, action="sum", settings={"hub.max_polls": 64}),
    )
    assert compare(record({BASE: STEADY}), new).cautions == [
        "another cpu: Z80 then, 6502 now",
        "another arbd: 0.1.0 then, 0.2.0 now",
        "another action: total then, sum now",
        "another setting hub.max_polls: default then, 64 now",
    ]


@pytest.mark.parametrize(
    ("machine", "setup", "load_before", "obstacle"),
    [
        ({"cpu": "6502"}, {}, 0.0, "another cpu"),
        ({"usable_cpus": 1}, {}, 0.0, "another usable cpus"),
        ({"kernel": "7.0"}, {}, 0.0, "another kernel"),
        ({"python": "3.12.1"}, {}, 0.0, "another python"),
        ({"packages": {"arbd": "0.1.0", "msgspec": "9"}}, {}, 0.0, "another msgspec"),
        ({}, {"action": "sum"}, 0.0, "another action"),
        ({}, {"payload_sha256": "cd" * 32}, 0.0, "another payload"),
        ({}, {"duration_s": 0.2}, 0.0, "another duration"),
        ({}, {"settings": {"hub.max_polls": 64}}, 0.0, "another setting"),
        ({}, {}, 3.0, "another load before it began: 0.0 then, 3.0 now"),
    ],
)
def test_where_something_else_differs_nothing_is_claimed(
    machine: dict[str, Any], setup: dict[str, Any], load_before: float, obstacle: str
) -> None:
    old, new = record({BASE: [200.0] * 9}), record({BASE: [100.0] * 9})
    other = msgspec.structs.replace(
        new,
        machine=msgspec.structs.replace(MACHINE, **machine),
        setup=msgspec.structs.replace(SETUP, **setup),
        load_before=load_before,
    )
    assert compare(old, new).is_slower
    for found in (compare(old, other), compare(other, old)):
        assert not found.is_slower
        assert {row.change.kind for row in found.rows} == {"noise"}
        assert not any(row.slower or row.faster for row in found.rows)
        assert found.inconclusive is not None
    assert compare(old, other).inconclusive == f"not comparable: {compare(old, other).obstacles[0]}"
    assert compare(old, other).obstacles[0].startswith(obstacle)


def test_the_load_of_others_while_it_was_measured_counts_before_that_at_its_begin() -> None:
    def under(others: float, load_before: float) -> Record:
        loaded = [msgspec.structs.replace(sample(100.0), others_cpus=others) for _ in range(7)]
        return msgspec.structs.replace(record({}), measurements=[Measurement(BASE, loaded)], load_before=load_before)

    assert compare(under(0.1, 0.0), under(0.2, 3.0)).obstacles == []  # the benchmark before it made that load
    assert compare(under(0.1, 0.0), under(1.5, 0.0)).obstacles == ["another load: others used 0.1 CPUs then, 1.5 now"]


def test_another_version_of_arbd_is_what_is_compared() -> None:
    newer = msgspec.structs.replace(MACHINE, packages={"arbd": "0.2.0"})
    found = compare(record({BASE: [200.0] * 7}), msgspec.structs.replace(record({BASE: [100.0] * 7}), machine=newer))
    assert (found.is_slower, found.cautions) == (True, ["another arbd: 0.1.0 then, 0.2.0 now"])


def test_nothing_in_common_and_too_few_samples_say_nothing() -> None:
    assert compare(record({BASE: STEADY}), record({OTHER: STEADY})).inconclusive is not None
    few = compare(record({BASE: STEADY[:3]}), record({BASE: [50.0] * 3}))
    assert (few.is_slower, few.can_tell, few.needed) == (False, False, 5)
    assert compare(record({BASE: STEADY}), record({BASE: [50.0] * 5})).inconclusive is None


def test_as_many_points_as_are_compared_need_samples_enough_for_that() -> None:
    points = [msgspec.structs.replace(BASE, workers=count) for count in range(1, 13)]
    five = compare(record(dict.fromkeys(points, STEADY)), record({point: [50.0] * 5 for point in points}))
    assert (five.can_tell, five.needed) == (False, 7)
    old = record({point: [100.0 + number for number in range(7)] for point in points})
    new = msgspec.structs.replace(old, measurements=[Measurement(points[0], [sample(50.0)] * 7), *old.measurements[1:]])
    assert [row.point for row in compare(old, new).rows if row.slower] == [points[0]]


def test_points_with_one_sample_do_not_hinder_the_others() -> None:
    points = [msgspec.structs.replace(BASE, workers=count) for count in range(4, 40)]
    once = {point: [100.0] for point in points}
    found = compare(record({BASE: STEADY, **once}), record({BASE: [50.0] * 5, **once}))
    assert [row.point for row in found.rows if row.slower] == [BASE]


def test_a_difference_of_less_than_5_percent_between_two_sittings_is_noise() -> None:
    old = [100.0 + number / 100 for number in range(10)]
    assert not compare(record({BASE: old}), record({BASE: [rate * 0.96 for rate in old]})).is_slower
    assert compare(record({BASE: old}), record({BASE: [rate * 0.9 for rate in old]})).is_slower


def test_a_whole_comparison_of_equal_records_is_rarely_an_alarm() -> None:
    """In 300 comparisons of 6 points without any difference, at most 5 % say anything at all, also where samples of a
    sitting scatter by 10 %."""
    rng = Random(5)
    points = [msgspec.structs.replace(BASE, workers=count) for count in range(1, 7)]

    def made() -> Record:
        drawn = [
            Measurement(point, [sample(rng.gauss(100, 10), idle_s=rng.gauss(5e-4, 5e-5)) for _ in range(7)])
            for point in points
        ]
        return msgspec.structs.replace(record({}), measurements=drawn)

    alarms = sum(any(row.slower or row.faster for row in compare(made(), made()).rows) for _ in range(300))
    assert alarms <= 0.06 * 300
