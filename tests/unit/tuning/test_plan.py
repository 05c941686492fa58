"""The plan tries the usual values around the current ones, one dimension after the other, in a mixed order."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuning_support import BASE, OWN

from arbd.tuning import plan
from arbd.tuning.record import OwnTime, Point


@pytest.mark.parametrize(
    ("cpus", "expected"), [(1, [1, 2]), (2, [1, 2, 3]), (4, [1, 2, 4, 5]), (6, [1, 2, 4, 6, 7]), (8, [1, 2, 4, 8, 9])]
)
def test_workers_double_up_to_the_cpus_and_go_one_beyond(cpus: int, expected: list[int]) -> None:
    assert plan.worker_counts(cpus) == expected


def test_links_are_tried_where_there_is_room_for_them() -> None:
    assert [plan.link_counts(cpus) for cpus in (1, 2, 4, 16)] == [[0], [0], [0, 1], [0, 1, 2, 4]]


def test_the_current_values_are_tried_beside_the_usual_ones() -> None:
    current = Point(workers=7, pin=False, prefetch=64, protocol="unary")
    space = plan.space(current, {}, 2)
    assert space.baseline == current
    assert (space.values["workers"], space.values["prefetch"]) == ([1, 2, 3, 7], [1, 16, 64, 256])


def test_what_was_asked_for_is_all_that_is_tried_and_its_first_value_stands_for_the_current_one() -> None:
    space = plan.space(BASE, {"workers": [8, 4], "protocol": ["unary"]}, 2)
    assert (space.values["workers"], space.values["protocol"]) == ([4, 8], ["unary"])
    assert space.baseline == Point(workers=8, pin=True, prefetch=256, protocol="unary")


def test_the_first_stage_has_every_number_of_workers_for_each_protocol() -> None:
    space = plan.space(BASE, {}, 2)
    (first, *others) = plan.stages(space, full=False)
    points = plan.points(space, first, BASE)
    assert {(point.protocol, point.workers) for point in points} == {
        (protocol, workers) for protocol in ("stream", "unary") for workers in (1, 2, 3)
    }
    assert {(point.pin, point.prefetch) for point in points} == {(True, 256)}
    assert others == [("pin",), ("prefetch",)]


def test_later_stages_vary_one_dimension_around_the_best_so_far() -> None:
    best = Point(workers=3, pin=False, prefetch=256, protocol="unary")
    space = plan.space(BASE, {}, 2)
    assert plan.points(space, ("prefetch",), best) == [
        msgspec.structs.replace(best, prefetch=count) for count in (1, 16, 256)
    ]


def test_links_are_tried_at_a_unary_point_only() -> None:
    space = msgspec.structs.replace(plan.space(BASE, {}, 2), values={**plan.space(BASE, {}, 2).values, "links": [0, 1]})
    unary = msgspec.structs.replace(BASE, protocol="unary")
    assert plan.points(space, ("links",), BASE) == []
    assert [point.links for point in plan.points(space, ("links",), unary)] == [0, 1]


def test_a_dimension_with_one_value_has_no_stage_but_a_single_point_is_measured() -> None:
    one: dict[str, list[object]] = {"workers": [2], "pin": [True], "prefetch": [256], "protocol": ["stream"]}
    space = plan.space(BASE, one, 2)
    (only,) = plan.stages(space, full=False)
    assert plan.points(space, only, BASE) == [BASE]
    assert plan.most_runs(space, 5, full=False) == 5


def test_full_is_the_product() -> None:
    space = plan.space(BASE, {}, 2)
    (only,) = plan.stages(space, full=True)
    points = plan.points(space, only, BASE)
    assert len(points) == len(set(points)) == 2 * 3 * 2 * 3
    assert plan.most_runs(space, 5, full=True) == 5 * len(points)


@given(st.integers(1, 12), st.integers(1, 25))
def test_each_round_has_every_point_once(count: int, repeats: int) -> None:
    points = [msgspec.structs.replace(BASE, workers=number) for number in range(1, count + 1)]
    rounds = plan.rounds(points, repeats)
    assert len(rounds) == repeats
    assert all(Counter(each) == Counter(points) for each in rounds)
    assert rounds == plan.rounds(points, repeats)


def test_rounds_differ_in_their_order() -> None:
    points = [msgspec.structs.replace(BASE, workers=number) for number in range(1, 7)]
    rounds = plan.rounds(points, 5)
    assert len({tuple(each) for each in rounds}) == 5


def test_tasks_last_about_as_long_as_asked_for() -> None:
    assert plan.task_count(1000.0, 2, 2.0, 100) == 2500  # four fifths of them are measured


def test_slow_actions_are_done_several_times_by_each_worker() -> None:
    assert plan.task_count(0.5, 4, 2.0, 100) == 20


def test_what_the_hub_must_keep_is_bounded() -> None:
    assert plan.task_count(1e6, 2, 60.0, 0) <= plan.MAX_TASKS
    assert plan.task_count(1e6, 2, 2.0, 10 * 1024 * 1024) * 10 * 1024 * 1024 <= 256 * 1024 * 1024


def test_a_guess_is_bounded_by_the_cpus_unless_the_action_waits() -> None:
    waiting = OwnTime(calls=10, median_s=0.05, p99_s=0.05, cpu_s=0.0001)
    many = msgspec.structs.replace(BASE, workers=64)
    assert plan.guess_rate(many, OWN, 2) == pytest.approx(2 / 0.005, rel=0.01)
    assert plan.guess_rate(many, waiting, 2) == pytest.approx(64 / 0.05, rel=0.01)


def test_the_estimate_grows_with_what_is_asked_for() -> None:
    space = plan.space(BASE, {}, 2)
    short = plan.estimate_s(space, OWN, 0.5, 5, full=False)
    assert 55 * 1.0 < short < plan.estimate_s(space, OWN, 2.0, 5, full=False)
    assert plan.estimate_s(space, OWN, 2.0, 5, full=False) < plan.estimate_s(space, OWN, 2.0, 5, full=True)
