"""What was measured when it was not the settings is said: a rate limit, the hub, the edge of what was tried."""

from __future__ import annotations

import msgspec
import pytest
from tuning_support import BASE, record, sample

from arbd.control.reports import LimitReport
from arbd.tuning import plan, report
from arbd.tuning.bounds import binding_limit
from arbd.tuning.record import Measurement, OwnTime, Record, Sample

RATE = LimitReport("api", "provider", "10 calls in any second", 10.0, 0.3, [])
COST = LimitReport("cpu", "action", "0.5 s of CPU per second", None, 0.95, [], actions=["total"])


@pytest.mark.parametrize(("tasks_per_s", "rule"), [(9.6, RATE.rule), (10.9, RATE.rule), (5.0, ""), (20.0, "")])
def test_a_limit_that_is_reached_is_named(tasks_per_s: float, rule: str) -> None:
    assert binding_limit([RATE], "total", 1000, 1000 / tasks_per_s) == rule


def test_a_window_of_few_tasks_is_not_taken_at_its_word() -> None:
    assert binding_limit([RATE], "total", 4, 0.6) == RATE.rule
    assert binding_limit([RATE], "total", 4, 0.1) == ""


def test_a_limit_of_costs_is_reached_when_it_is_used_up_and_of_another_action_never() -> None:
    assert binding_limit([COST], "total", 30, 10.0) == COST.rule
    assert binding_limit([msgspec.structs.replace(COST, usage=0.5)], "total", 30, 10.0) == ""
    assert binding_limit([COST], "other", 30, 10.0) == ""


def with_samples(*samples: Sample) -> Record:
    return msgspec.structs.replace(record({}), measurements=[Measurement(BASE, list(samples))])


def test_the_report_says_that_a_limit_was_measured() -> None:
    limited = msgspec.structs.replace(sample(10.0), limit=RATE.rule)
    assert any(RATE.rule in note for note in report.notes(with_samples(*[limited] * 5)))
    assert not any(RATE.rule in note for note in report.notes(with_samples(limited, *[sample(10.0)] * 4)))


def test_the_report_says_that_the_hub_was_measured() -> None:
    busy = msgspec.structs.replace(sample(9000.0), hub_busy=0.97)
    assert any("hub is what was measured" in note for note in report.notes(with_samples(*[busy] * 5)))
    assert not any("hub is" in note for note in report.notes(with_samples(*[sample(9000.0)] * 5)))


@pytest.mark.parametrize(("name", "values"), [("workers", (2, 4, 8)), ("prefetch", (1, 16, 256))])
def test_a_best_at_the_edge_of_what_was_tried_is_said(name: str, values: tuple[int, ...]) -> None:
    points = [msgspec.structs.replace(BASE, **{name: value}) for value in values]
    growing = record({point: [100.0 * (number + 1)] * 5 for number, point in enumerate(points)})
    inside = record({point: [rate] * 5 for point, rate in zip(points, [100.0, 200.0, 150.0], strict=True)})
    level = record({point: [100.0 + number] * 5 for number, point in enumerate(points)})
    told = [note for note in report.notes(growing) if "edge" in note]
    assert len(told) == 1
    assert f"--{name} {values[-1]},{2 * values[-1]}" in told[0]
    assert not [note for found in (inside, level) for note in report.notes(found) if "edge" in note]


def test_what_kept_it_from_more_workers_is_said() -> None:
    more = msgspec.structs.replace(BASE, workers=4)
    found = msgspec.structs.replace(record({BASE: [100.0] * 5, more: [200.0] * 5}), bound="no memory")
    assert any("(not more: no memory)" in note for note in report.notes(found))


@pytest.mark.parametrize("ratio", [0.55, 0.8, 1.3])
def test_a_large_difference_is_never_called_none(ratio: float) -> None:
    other = msgspec.structs.replace(BASE, pin=False)
    scattered = [60.0, 80.0, 100.0, 120.0, 140.0]
    found = record({BASE: scattered, other: [rate * ratio for rate in scattered[::-1]]})
    recommendation = report.recommend(found)
    assert recommendation is not None
    (reason,) = [reason for reason in recommendation.reasons.values() if "pin = false" in reason]
    assert "no difference" not in reason
    assert "cannot tell" in reason or "does" in reason


# Estimates ---------------------------------------------------------------------------------------------------------


def test_the_estimate_of_a_limited_action_is_that_of_the_limit() -> None:
    fast = OwnTime(calls=100, median_s=1e-6, p99_s=1e-6, cpu_s=1e-6)
    space = plan.space(BASE, {name: [getattr(BASE, name)] for name in plan.DIMENSIONS}, 2)
    free = plan.estimate_s(space, fast, 0.2, 1, full=False, cpus=2)
    limited = plan.estimate_s(space, fast, 0.2, 1, full=False, cpus=2, limit_rate=0.5)
    tasks = plan.task_count(0.5, BASE.workers, 0.2, 0, fast.median_s)
    assert free < 3.0
    assert limited == pytest.approx(tasks / 0.5 + plan.FEWEST_IDLE / 0.5 + free, rel=0.1)


def test_a_limit_makes_few_tasks_and_a_slow_action_several_for_each_worker() -> None:
    assert plan.task_count(2.0, 8, 0.2, 0, own_s=1e-6) == 8
    assert plan.task_count(2.0, 8, 0.2, 0, own_s=4.0) == 40
