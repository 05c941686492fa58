"""Rate limits: what a check costs, that no start comes too early, and how much of a limit is used.

The short form of ``make limits-campaign``; the comparison with other libraries is ``python -m bench.limits_peers``.
"""

from __future__ import annotations

import mmap
import time
import timeit
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from arbd.host import memory
from arbd.ipc import layout
from arbd.model.limit_spec import Rates
from arbd.rate_limit import NoRateLimitMonitor
from arbd.rate_limit.grants.supervisor_seat import SupervisorSeat
from arbd.rate_limit.grants.worker_seat import WorkerSeat
from arbd.worker.limits.seats import Bells
from bench.harness import SMOKE, Figure, alternate, conclude, rounds
from bench.limits_campaign import BUCKET, SHORT_WINDOW, WINDOW, run
from bench.limits_rig import Plan

_CHECKS = 20_000
_SECONDS = 1.0 if SMOKE else 4.0


def test_a_check_that_passes(benchmark: BenchmarkFixture) -> None:
    words = memory.words_of(mmap.mmap(-1, layout.SEAT_WORDS * 8))
    seat = WorkerSeat(words, _no_bells())
    SupervisorSeat(words).grant(1 << 60)
    _cost(benchmark, "check that passes", seat.take, goal_us=1.0)


def test_no_limit_costs_nothing(benchmark: BenchmarkFixture) -> None:
    _cost(benchmark, "check of NoRateLimitMonitor", NoRateLimitMonitor().check_rate_limits, goal_us=0.05)


def _no_bells() -> Bells:
    """Clocks without bells: nobody asks here."""
    return Bells.__new__(Bells)


def _cost(benchmark: BenchmarkFixture, what: str, check: Callable[[], object], goal_us: float) -> None:
    (samples,) = alternate(benchmark, rounds(15, 3), lambda: _seconds_of(check) / _CHECKS * 1e6)
    conclude(benchmark, Figure(what, "us", "at most", goal_us, samples))


def _seconds_of(check: Callable[[], object]) -> float:
    return timeit.timeit(check, number=_CHECKS, timer=time.process_time)


def _use(benchmark: BenchmarkFixture, what: str, goal: float, plan: Plan, daemons: int = 1) -> None:
    (outcomes,) = alternate(benchmark, rounds(5), lambda: run(plan, daemons))
    assert [outcome.over for outcome in outcomes] == [0] * len(outcomes)
    conclude(benchmark, Figure(f"use of {what}", "x", "at least", goal, [outcome.used for outcome in outcomes]))


@pytest.mark.parametrize(("load", "goal"), [("even", 0.995), ("hot", 0.995), ("moving", 0.99)])
def test_a_limit_is_used_and_never_exceeded(benchmark: BenchmarkFixture, load: str, goal: float) -> None:
    _use(benchmark, f"a bucket, {load} load", goal, Plan(BUCKET, 4, _SECONDS, load))


def test_daemons_that_share_a_limit(benchmark: BenchmarkFixture) -> None:
    _use(benchmark, "a window shared by 2 daemons", 0.97, Plan(WINDOW, 2, _SECONDS), daemons=2)


@pytest.mark.parametrize("rates", [BUCKET, SHORT_WINDOW])
def test_trouble_of_every_kind_never_exceeds_a_limit(benchmark: BenchmarkFixture, rates: Rates) -> None:
    plan = Plan(rates, 4, _SECONDS + 1, "moving", kills=20, stall_s=0.7, clock_jumps=True)
    (outcomes,) = alternate(benchmark, 1, lambda: run(plan))
    assert [outcome.over for outcome in outcomes] == [0]
    assert outcomes[0].killed > 0
