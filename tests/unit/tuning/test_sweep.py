"""The sweep measures what the plan says, around the best so far, and keeps what it has if it is stopped."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from tuning_support import BASE, OWN, sample

from arbd.tuning import plan
from arbd.tuning.record import Point, Sample
from arbd.tuning.sweep import FailingError, Sweep

SPACE = plan.space(BASE, {}, 2)


def swept(rate_of: Callable[[Point], float], *, repeats: int = 6, full: bool = False) -> Sweep:
    seen: list[Point] = []
    wobble = iter(range(10**6))

    async def measure(point: Point, rate: float) -> Sample:
        assert seen[-1] == point  # told before
        return sample(rate_of(point) * (1 + next(wobble) % 7 / 1000))

    sweep = Sweep(SPACE, OWN, 2, repeats=repeats, full=full, before=seen.append)
    asyncio.run(sweep.run(measure))
    return sweep


def points(sweep: Sweep) -> set[Point]:
    return {found.point for found in sweep.measurements}


def test_later_stages_go_on_from_the_best() -> None:
    found = points(swept(lambda point: 100.0 * point.workers if point.protocol == "unary" else 10.0))
    later = {point for point in found if not point.pin or point.prefetch != 256}
    assert {(point.protocol, point.workers) for point in later} == {("unary", 3)}


def test_without_a_difference_they_go_on_from_the_baseline() -> None:
    found = points(swept(lambda point: 100.0))
    later = {point for point in found if not point.pin or point.prefetch != 256}
    assert later == {
        msgspec.structs.replace(BASE, pin=False),
        msgspec.structs.replace(BASE, prefetch=1),
        msgspec.structs.replace(BASE, prefetch=16),
    }


def test_every_point_has_its_repeats_and_the_best_those_of_each_stage() -> None:
    counts = Counter({found.point: len(found.samples) for found in swept(lambda point: 100.0).measurements})
    assert counts.pop(BASE) == 3 * 6
    assert set(counts.values()) == {6}


def test_full_measures_the_product() -> None:
    assert len(points(swept(lambda point: 100.0, repeats=1, full=True))) == 36


def test_a_measured_rate_takes_the_place_of_the_guess() -> None:
    expected: list[float] = []

    async def measure(point: Point, rate: float) -> Sample:
        expected.append(rate)
        return sample(777.0)

    one = plan.space(BASE, {name: [getattr(BASE, name)] for name in plan.DIMENSIONS}, 2)
    asyncio.run(Sweep(one, OWN, 2, repeats=2, full=False, before=lambda point: None).run(measure))
    assert expected == [plan.guess_rate(BASE, OWN, 2), 777.0]


def test_tasks_that_mostly_fail_end_it_with_their_message() -> None:
    async def measure(point: Point, rate: float) -> Sample:
        return sample(100.0, failed=900)

    sweep = Sweep(SPACE, OWN, 2, repeats=5, full=False, before=lambda point: None)
    with pytest.raises(FailingError, match="900 tasks failed; the first one was answered error: no"):
        asyncio.run(sweep.run(measure))
    assert [len(found.samples) for found in sweep.measurements] == [1]


def test_a_few_failures_do_not_end_it() -> None:
    async def measure(point: Point, rate: float) -> Sample:
        return sample(100.0, failed=1)

    sweep = Sweep(SPACE, OWN, 2, repeats=2, full=False, before=lambda point: None)
    asyncio.run(sweep.run(measure))
    assert all(found.failed for found in sweep.measurements)


def test_what_was_measured_before_an_interrupt_is_there() -> None:
    async def measure(point: Point, rate: float) -> Sample:
        if sweep.measurements:
            raise asyncio.CancelledError
        return sample(100.0)

    sweep = Sweep(SPACE, OWN, 2, repeats=2, full=False, before=lambda point: None)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(sweep.run(measure))
    assert [len(found.samples) for found in sweep.measurements] == [1]
