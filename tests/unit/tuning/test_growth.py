"""The number of workers grows as long as that does more, and no further than there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from tuning_support import BASE, sample

from arbd.tuning import growth, plan
from arbd.tuning.bounds import limit_rate
from arbd.tuning.daemon_process import DaemonError
from arbd.tuning.record import OwnTime, Point, Sample
from arbd.tuning.room import MOST_WORKERS, Room, least_room
from arbd.tuning.sweep import Sweep

SLEEPS = OwnTime(calls=100, median_s=0.02, p99_s=0.021, cpu_s=0.00005)
MIXED = OwnTime(calls=100, median_s=0.012, p99_s=0.013, cpu_s=0.002)
COMPUTES = OwnTime(calls=100, median_s=0.005, p99_s=0.006, cpu_s=0.005)
CPUS = 2
PER_TASK_S = 0.0002  # what a task costs beside the action


def machine(own: OwnTime) -> Callable[[int], float]:
    """Tasks/s of so many workers: until the CPUs are used up, and a little less with every worker beyond that."""
    most = CPUS / (own.cpu_s + PER_TASK_S)

    def rate(workers: int) -> float:
        free = workers / (own.median_s + PER_TASK_S)
        return min(free, most / (1 + 0.0005 * workers))

    return rate


def swept(own: OwnTime, rate: Callable[[int], float], *, room: Room, limit: float | None = None) -> Sweep:
    async def measure(point: Point, expected: float) -> Sample:
        taken = sample(rate(point.workers) if point.protocol == "stream" else 50.0)
        return msgspec.structs.replace(taken, worker_bytes=2**20)

    sweep = Sweep(
        plan.space(BASE, {}, CPUS),
        own,
        CPUS,
        repeats=6,
        full=False,
        before=lambda point: None,
        room=lambda _: room,
        limit_rate=limit,
    )
    asyncio.run(sweep.run(measure))
    return sweep


def tried(sweep: Sweep) -> list[int]:
    return sorted({found.point.workers for found in sweep.measurements})


def repeated(sweep: Sweep) -> set[int]:
    return {found.point.workers for found in sweep.measurements if len(found.samples) >= 6}


@pytest.mark.parametrize("own", [SLEEPS, MIXED])
def test_of_what_is_repeated_one_is_as_good_as_the_best_of_all(own: OwnTime) -> None:
    rate = machine(own)
    best = max(rate(workers) for workers in range(1, MOST_WORKERS + 1))
    sweep = swept(own, rate, room=Room(MOST_WORKERS, ""))
    assert max(rate(workers) for workers in repeated(sweep)) >= 0.95 * best
    assert sweep.bound == ""


def test_an_action_that_computes_has_no_more_than_the_usual_numbers() -> None:
    assert tried(swept(COMPUTES, machine(COMPUTES), room=Room(MOST_WORKERS, ""))) == [1, 2, 3]


def test_it_ends_where_there_is_no_more_room_and_says_so() -> None:
    sweep = swept(SLEEPS, machine(SLEEPS), room=Room(40, "half of the memory that is left"))
    assert (max(tried(sweep)), sweep.bound) == (40, "half of the memory that is left")


def test_a_daemon_that_does_not_work_with_so_many_ends_it() -> None:
    def rate(workers: int) -> float:
        if workers > 16:
            raise DaemonError("the daemon ended with exit code 71\nmuch else")
        return 50.0 * workers

    sweep = swept(SLEEPS, rate, room=Room(MOST_WORKERS, ""))
    assert max(tried(sweep)) == 16
    assert sweep.bound == "a daemon with 32 workers did not work (the daemon ended with exit code 71)"


def test_a_daemon_that_never_works_is_an_error() -> None:
    def rate(workers: int) -> float:
        raise DaemonError("no")

    with pytest.raises(DaemonError, match="no"):
        swept(SLEEPS, rate, room=Room(MOST_WORKERS, ""))


def test_what_waits_for_a_rate_limit_does_not_grow() -> None:
    assert tried(swept(SLEEPS, lambda _: 5.0, room=Room(MOST_WORKERS, ""), limit=5.0)) == [1, 2, 3]


def test_numbers_that_were_asked_for_are_all_that_is_tried() -> None:
    assert not plan.space(BASE, {"workers": [2, 3]}, CPUS).may_grow


def test_one_bad_sample_does_not_end_it() -> None:
    rates = {2: 100.0, 4: 200.0, 8: 150.0}  # other work came in between
    assert growth.next_count(rates, 2, MOST_WORKERS) == 16
    assert growth.next_count({**rates, 16: 180.0}, 2, MOST_WORKERS) != 32


def test_neighbours_of_the_best_are_tried_last() -> None:
    rates = {2: 100.0, 4: 200.0, 8: 210.0, 16: 205.0, 32: 190.0}
    assert growth.next_count(rates, 2, MOST_WORKERS) == 11
    assert growth.next_count({**rates, 11: 207.0}, 2, MOST_WORKERS) == 6
    assert growth.next_count({**rates, 11: 207.0, 6: 205.0}, 2, MOST_WORKERS) is None


def test_no_more_is_tried_than_was_said() -> None:
    for own in (SLEEPS, MIXED):
        assert len(growth.predicted(CPUS, MOST_WORKERS, machine(own))) <= growth.most_tries(CPUS, MOST_WORKERS)


@pytest.mark.parametrize(
    ("found", "most"),
    [
        ({"memory": 2**30}, 16),
        ({"descriptors": 1024}, 128),
        ({"processes": 50}, 25),
        ({"group_tasks": 20}, 10),
        ({"memory": 0}, 1),
        ({}, MOST_WORKERS),
    ],
)
def test_the_room_is_the_least_of_what_bounds_it(found: dict[str, int], most: int) -> None:
    usual = {"memory": None, "descriptors": -1, "processes": None, "group_tasks": None}
    room = least_room(32 * 2**20, **(usual | found))  # type: ignore[arg-type] # what a test names, beside what it does not
    assert room.most == most
    assert room.bound


def test_the_rate_of_a_limit_is_that_of_the_action_before_that_of_the_provider() -> None:
    from arbd.model.limit_spec import LimitSpec, Rates

    provider = LimitSpec("p", "time_based", Rates(min_delay=0.5), scope="provider")
    own = LimitSpec("a", "time_based", Rates(max_calls_per_second=10), scope="action", actions=["total"])
    assert limit_rate([provider], "total") == 2.0
    assert limit_rate([provider, own], "total") == 10.0
    assert limit_rate([own], "other") is None
    assert limit_rate([LimitSpec("m", "adaptive", Rates(max_concurrency=3), scope="provider")], "total") is None
