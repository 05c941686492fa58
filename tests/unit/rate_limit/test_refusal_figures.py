"""What a refusal tells is true at its moment, on any number of workers, and agrees with that it is one."""

from __future__ import annotations

from typing import Any, Final

import pytest
from seat_support import World

from arbd.ipc import layout
from arbd.model.limit_spec import Rates
from arbd.rate_limit import AdvancedRateLimitMonitor, CustomRateLimitMonitor, TimeBasedRateLimitMonitor
from arbd.rate_limit.limit_monitor import LimitMonitor
from arbd.rate_limit.usage import UNREACHED, Figures, Totals
from arbd.rate_limit.words import in_words

SECOND: Final = 1_000_000_000


def refusals(monitor: LimitMonitor, workers: int, starts: int) -> tuple[World, list[dict[str, Any]]]:
    """What every worker is told after so many starts, made by the workers in turn, if it is refused."""
    world = World(monitor.spec.rates, workers, metered=monitor.spec.metered)
    for number in range(starts):
        assert world.start(number % workers) == 0
    told = []
    for slot, seat in enumerate(world.seats):
        seat.is_metered = monitor.spec.metered
        mine = LimitMonitor.of(monitor.spec)
        mine.attach(seat)
        told.append(mine.check_rate_limits() if slot % 2 else mine.admit(0))
    return world, [refusal for refusal in told if refusal is not None]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_every_worker_tells_the_whole_count_of_the_daemon(workers: int) -> None:
    _, told = refusals(CustomRateLimitMonitor(window_size=60, max_requests=10), workers, starts=10)
    assert [(each["current_count"], each["limit"]) for each in told] == [(10, 10)] * workers


def test_starts_that_another_worker_holds_count_as_used() -> None:
    monitor = CustomRateLimitMonitor(window_size=60, max_requests=10)
    world = World(monitor.spec.rates, workers=2)
    while world.account.outstanding < 10 - len(world.starts):  # the first takes all, in batches that it does not use up
        world.seats[0].peek()
        world.account.outstanding += world.account.limit.available(world.now_ns, world.account.outstanding)
    monitor.attach(world.seats[1])
    refusal = monitor.admit(0)
    assert refusal is not None
    assert (refusal["current_count"], len(world.starts)) == (10, 0)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    "monitor",
    [
        TimeBasedRateLimitMonitor(min_delay=1),
        TimeBasedRateLimitMonitor(max_calls_per_second=1),
        TimeBasedRateLimitMonitor(min_delay=1, max_calls_per_second=10),
        AdvancedRateLimitMonitor(min_delay=1, max_calls_per_second=2),
        AdvancedRateLimitMonitor(requests_per_minute=60, burst_size=1),
        AdvancedRateLimitMonitor(min_delay=2, max_cpu_per_second=0.5),
    ],
    ids=lambda monitor: in_words(monitor.spec),
)
def test_no_refusal_says_that_something_is_left(monitor: LimitMonitor, workers: int) -> None:
    world, _ = refusals(monitor, workers, starts=1)
    for slot in range(workers):
        if monitor.spec.metered and slot == 0:
            world.seats[0].end((world.now_ns, world.now_ns))
        world.now_ns += SECOND // 10
        mine = LimitMonitor.of(monitor.spec)
        mine.attach(world.seats[slot])
        told = mine.check_rate_limits()
        assert told is not None
        assert told["current_usage"] == 1.0
        if monitor.spec.metered:
            assert (told["call_usage"], told["is_near_limit"], told["is_critical"]) == (1.0, True, True)


def test_a_part_of_a_token_is_no_token() -> None:
    monitor = AdvancedRateLimitMonitor(requests_per_minute=60, burst_size=2)
    world, _ = refusals(monitor, 1, starts=2)
    world.now_ns += SECOND * 9 // 10
    monitor.attach(world.seats[0])
    refusal = monitor.admit(0)
    assert refusal is not None
    assert (refusal["wait_time"], refusal["call_usage"], refusal["is_critical"]) == (0.1, 1.0, True)


@pytest.mark.parametrize("usage", [0.5, 0.7999, 0.8, 0.8999, 0.89996, 0.9, 1.0, 1.7])
def test_the_thresholds_of_a_response_are_those_of_the_usage_it_tells(usage: float) -> None:
    monitor = AdvancedRateLimitMonitor(max_calls_per_second=5)
    told = monitor._fields(Figures(Totals(0, 0, 0), usage, 0.0))
    assert told["is_near_limit"] == (told["call_usage"] >= 0.8)
    assert told["is_critical"] == (told["call_usage"] >= 0.9)


def test_a_worker_without_an_answer_says_that_the_limit_could_not_be_asked() -> None:
    monitor = CustomRateLimitMonitor(window_size=60, max_requests=10)
    world = World(monitor.spec.rates, workers=1)
    world.stalled = True
    monitor.attach(world.seats[0])
    refusal = monitor.admit(0)
    assert refusal is not None
    assert refusal["current_count"] == 0
    assert "could not be asked" in refusal["message"]


def test_a_limit_that_is_put_off_says_that_it_could_not_be_asked() -> None:
    world = World(Rates(max_requests=1, window_size=60), workers=1)
    world.words[0][layout.NEED] = world.words[0][layout.ASKED] = 1
    assert world.account.put_off(world.now_ns, world.now_ns + SECOND) == world.ids
    assert world.seats[0].figures().cause == UNREACHED


def test_a_refusal_of_a_measured_limit_has_the_figures_of_the_moment() -> None:
    monitor = AdvancedRateLimitMonitor(max_time_per_second=0.5)
    world = World(monitor.spec.rates, workers=2, metered=True)
    assert world.start(0) == 0
    begun = world.seats[0].begin()
    monitor.attach(world.seats[1])
    world.seats[1].is_metered = True
    first = monitor.admit(0)
    world.now_ns += 2 * SECOND
    world.seats[0].end(begun)
    second = monitor.admit(0)
    assert first is not None
    assert second is not None
    assert "about" in first["message"]  # what the call that runs will cost is not known
    assert "message" not in second
    assert second["metrics"]["total_time"] == 2.0
    assert second["call_usage"] > 1.0
    world.now_ns += round(second["wait_time"] * SECOND)
    assert monitor.admit(0) is None


def test_an_estimated_wait_grows_with_the_call_that_is_waited_for() -> None:
    monitor = AdvancedRateLimitMonitor(max_time_per_second=0.5)
    world = World(monitor.spec.rates, workers=2, metered=True)
    assert world.start(0) == 0
    monitor.attach(world.seats[1])
    world.seats[1].is_metered = True
    waits = []
    for _ in range(4):
        refusal = monitor.admit(0)
        assert refusal is not None
        waits.append(refusal["wait_time"])
        world.now_ns += SECOND
    assert waits == sorted(waits)
    assert waits[0] < 0.1 < 1.0 <= waits[1] < waits[-1]


@pytest.mark.parametrize("idle_s", [0, 7200])
def test_cpu_usage_is_whole_from_the_first_second_on(idle_s: int) -> None:
    monitor = AdvancedRateLimitMonitor(max_calls_per_second=1)
    world = World(monitor.spec.rates, workers=2, metered=True)
    world.now_ns += idle_s * SECOND  # the machine has been up for long, the limit has not been used
    assert world.start(0) == 0
    begun = world.seats[0].begin()
    world.now_ns += SECOND // 2
    world.seats[0].end(begun)  # clock and CPU clock are one here: it computed all the time
    monitor.attach(world.seats[1])
    refusal = monitor.admit(0)
    assert refusal is not None
    assert refusal["cpu_usage"] == 1.0


def test_cpu_usage_beside_a_budget_is_that_of_the_budget() -> None:
    monitor = AdvancedRateLimitMonitor(max_cpu_per_second=0.5)
    world = World(monitor.spec.rates, workers=1, metered=True)
    world.now_ns += 7200 * SECOND
    assert world.start(0) == 0
    begun = world.seats[0].begin()
    world.now_ns += SECOND
    world.seats[0].end(begun)
    monitor.attach(world.seats[0])
    refusal = monitor.admit(0)
    assert refusal is not None
    assert refusal["cpu_usage"] == refusal["call_usage"] >= 1.0
