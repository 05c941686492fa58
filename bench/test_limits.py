"""Rate limits: what a check costs, that no start comes too early, and how much of a limit is used.

The short form of ``make limits-campaign``; the comparison with other libraries is ``python -m bench.limits_peers``.
"""

from __future__ import annotations

import mmap
import time
import timeit
from collections.abc import Callable
from typing import TypeVar

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from arbd.core import layout
from arbd.core.ledger import SupervisorSeat, WorkerSeat
from arbd.host import memory
from arbd.rate_limit import NoRateLimitMonitor
from arbd.rate_limit.spec import Rates
from arbd.worker.limits import Bells
from bench.harness import SMOKE, Figure, conclude, rounds
from bench.limits_campaign import BUCKET, SHORT_WINDOW, WINDOW, run
from bench.limits_redis import redis_server, sustained
from bench.limits_rig import Outcome, Plan

T = TypeVar("T")
_CHECKS = 20_000
_SECONDS = 1.0 if SMOKE else 4.0


def test_a_check_that_passes(benchmark: BenchmarkFixture) -> None:
    words = memory.words_of(mmap.mmap(-1, layout.SEAT_WORDS * 8))
    seat = WorkerSeat(words, _no_bells(), measured=False)
    SupervisorSeat(words).grant(1 << 60)
    _cost(benchmark, "check that passes", seat.take, goal_us=1.0)


def test_no_limit_costs_nothing(benchmark: BenchmarkFixture) -> None:
    _cost(benchmark, "check of NoRateLimitMonitor", NoRateLimitMonitor().check_rate_limits, goal_us=0.05)


def _no_bells() -> Bells:
    """Clocks without bells: nobody asks here."""
    return Bells.__new__(Bells)


def _once(benchmark: BenchmarkFixture, measure: Callable[[], T]) -> T:
    """Run under pytest-benchmark, which then counts it among the benchmarks; the figures come from inside."""
    measured: T = benchmark.pedantic(measure, rounds=1)  # type: ignore[no-untyped-call] # it has no types
    return measured


def _cost(benchmark: BenchmarkFixture, what: str, check: Callable[[], object], goal_us: float) -> None:
    repeat = rounds(15, 3)
    samples = _once(benchmark, lambda: timeit.repeat(check, number=_CHECKS, repeat=repeat, timer=time.process_time))
    conclude(benchmark, Figure(what, "us", "at most", goal_us, [sample / _CHECKS * 1e6 for sample in samples]))


@pytest.mark.parametrize(("load", "goal"), [("even", 0.995), ("hot", 0.995), ("moving", 0.99)])
def test_a_limit_is_used_and_never_exceeded(benchmark: BenchmarkFixture, load: str, goal: float) -> None:
    plan = Plan(BUCKET, 4, _SECONDS, load)
    outcomes = _once(benchmark, lambda: [run(plan) for _ in range(rounds(3))])
    assert [outcome.over for outcome in outcomes] == [0] * len(outcomes)
    conclude(benchmark, Figure(f"use of a bucket, {load} load", "x", "at least", goal, [out.used for out in outcomes]))


def test_daemons_that_share_a_limit(benchmark: BenchmarkFixture) -> None:
    plan = Plan(WINDOW, 2, _SECONDS)
    outcomes = _once(benchmark, lambda: [run(plan, daemons=2) for _ in range(rounds(3))])
    assert [outcome.over for outcome in outcomes] == [0] * len(outcomes)
    figure = Figure("use of a window shared by 2 daemons", "x", "at least", 0.97, [out.used for out in outcomes])
    conclude(benchmark, figure)


def test_daemons_that_share_a_limit_over_redis(benchmark: BenchmarkFixture) -> None:
    def measure() -> list[Outcome]:
        with redis_server() as url:
            plan = Plan(Rates(max_requests=1000, window_size=1.0), 1, _SECONDS + 1.5, redis_url=url)
            return [run(plan, daemons=4) for _ in range(rounds(3))]

    outcomes = _once(benchmark, measure)
    assert [outcome.over for outcome in outcomes] == [0] * len(outcomes)
    used = [sustained(outcome.trace, Rates(max_requests=1000, window_size=1.0)) for outcome in outcomes]
    conclude(benchmark, Figure("use of a window of 4 processes over Redis", "x", "at least", 0.97, used))


def test_trouble_of_every_kind_never_exceeds_a_limit(benchmark: BenchmarkFixture) -> None:
    plans = [
        Plan(rates, 4, _SECONDS + 1, "moving", kills=20, stall_s=0.7, clock_jumps=True)
        for rates in (BUCKET, SHORT_WINDOW)
    ]
    outcomes = _once(benchmark, lambda: [run(plan) for plan in plans])
    assert [outcome.over for outcome in outcomes] == [0, 0]
    assert min(outcome.killed for outcome in outcomes) > 0
