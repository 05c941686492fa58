"""Each algorithm lets through exactly what it says: never more, and, asked again at the time it names, never less."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.rate_limit.algorithms.base import NEVER_NS, SECOND_NS, All, Closed, Limit
from arbd.rate_limit.algorithms.bucket import TokenBucket
from arbd.rate_limit.algorithms.budget import CostBudget
from arbd.rate_limit.algorithms.window import SlidingWindow

MS: Final = 1_000_000
gaps = st.lists(st.integers(0, 400 * MS), max_size=60)


def take(limit: Limit, now_ns: int) -> bool:
    limit.forget(now_ns)
    if not limit.available(now_ns, 0):
        return False
    limit.spend(now_ns, 1)
    return True


def admitted(limit: Limit, steps: list[int]) -> list[int]:
    """The moments of those that tried, after these steps of time each, and were let through."""
    now_ns, found = 1, []
    for step in steps:
        now_ns += step
        if take(limit, now_ns):
            found.append(now_ns)
    return found


@given(steps=gaps, most=st.integers(1, 12), window_ms=st.integers(1, 900))
def test_a_window_admits_exactly_those_that_fit(steps: list[int], most: int, window_ms: int) -> None:
    window_ns = window_ms * MS
    now_ns, expected = 1, list[int]()
    for step in steps:
        now_ns += step
        if sum(now_ns - start < window_ns for start in expected) < most:
            expected.append(now_ns)
    assert admitted(SlidingWindow(most, window_ns), steps) == expected


@given(steps=gaps, calls=st.integers(1, 50), burst=st.integers(1, 12))
def test_a_bucket_admits_exactly_those_it_has_tokens_for(steps: list[int], calls: int, burst: int) -> None:
    now_ns, level, expected = 1, burst * SECOND_NS, list[int]()
    for step in steps:
        now_ns += step
        level = min(burst * SECOND_NS, level + step * calls)
        if level >= SECOND_NS:
            level -= SECOND_NS
            expected.append(now_ns)
    assert admitted(TokenBucket(calls, SECOND_NS, burst), steps) == expected


limits = st.one_of(
    st.builds(SlidingWindow, st.integers(1, 8), st.integers(1, 900 * MS)),
    st.builds(TokenBucket, st.integers(1, 50), st.just(SECOND_NS), st.integers(1, 8)),
)


@given(limit=st.one_of(limits, st.builds(All, st.lists(limits, min_size=1, max_size=3))), steps=gaps)
def test_the_time_it_names_is_the_earliest(limit: Limit, steps: list[int]) -> None:
    now_ns = admitted(limit, steps)[-1] if steps else 1
    next_ns = limit.next_at(now_ns, 0)
    assert next_ns >= now_ns
    assert limit.available(next_ns, 0) > 0
    if next_ns > now_ns:
        assert limit.available(next_ns - 1, 0) == 0


@given(limit=limits, outstanding=st.integers(0, 5), steps=gaps)
def test_outstanding_starts_count_as_made(limit: Limit, outstanding: int, steps: list[int]) -> None:
    admitted(limit, steps)
    now_ns = sum(steps) + 1
    free = limit.available(now_ns, 0)
    assert limit.available(now_ns, outstanding) == max(0, free - outstanding)
    told = limit.next_at(now_ns, outstanding)
    limit.spend(now_ns, min(outstanding, free))
    if outstanding <= free:
        assert limit.available(told, 0) > 0


def test_a_large_window_keeps_its_starts_in_groups_and_still_forgets_them() -> None:
    limit = SlidingWindow(100_000, SECOND_NS)
    for number in range(100_000):
        limit.spend(number * 9_000, 1)
    assert len(limit._groups) <= 4097
    assert limit.available(900 * MS, 0) == 0
    limit.forget(2 * SECOND_NS)
    assert (len(limit._groups), limit.available(2 * SECOND_NS, 0)) == (0, 100_000)


def test_a_start_that_is_learnt_late_is_never_dated_before_those_already_known() -> None:
    limit = SlidingWindow(2, 100)
    limit.spend(50, 1)
    limit.spend(10, 1)
    assert limit.available(149, 0) == 0
    assert limit.available(150, 0) == 2


def test_a_bucket_does_not_credit_time_before_a_start_that_is_learnt_late() -> None:
    limit = TokenBucket(1, SECOND_NS, 5)
    limit.spend(10 * SECOND_NS, 5)
    limit.spend(9 * SECOND_NS, 1)
    assert limit.next_at(10 * SECOND_NS, 0) == 12 * SECOND_NS


def test_batches_are_small_beside_the_window_and_the_burst() -> None:
    assert SlidingWindow(100_000, SECOND_NS).max_batch == 200
    assert TokenBucket(100_000, SECOND_NS, 40).max_batch == 10
    assert All([SlidingWindow(100_000, SECOND_NS), SlidingWindow(1, 5)]).max_batch == 1


def test_closed_is_closed() -> None:
    limit = Closed()
    assert (limit.available(5, 0), limit.next_at(5, 0), limit.usage(5)) == (0, NEVER_NS, 1.0)


@pytest.mark.parametrize(("spacing", "graded"), [(SlidingWindow(1, 5), False), (SlidingWindow(2, 5), True)])
def test_a_spacing_says_nothing_about_usage_beside_others(spacing: Limit, graded: bool) -> None:
    both = All([spacing, SlidingWindow(10, SECOND_NS)])
    both.spend(1, 1)
    assert spacing.graded is graded
    assert both.usage(1) == (0.5 if graded else 0.1)


# -- budgets -----------------------------------------------------------------------------------------------------------


def budget(of_second: float = 0.5, *, cpu: bool = True) -> CostBudget:
    return CostBudget(round(of_second * SECOND_NS), SECOND_NS, cpu=cpu)


def ended(limit: CostBudget, at_ns: int, cost_ns: int) -> None:
    limit.spend(at_ns - cost_ns, 1)
    limit.charge(at_ns, 1, cost_ns, cost_ns)


def test_calls_of_unknown_cost_start_one_at_a_time() -> None:
    limit = budget()
    assert limit.available(0, 0) == 1
    assert limit.available(0, 1) == 0
    limit.spend(0, 1)
    assert limit.available(0, 0) == 0


def test_a_known_cost_says_how_many_may_start() -> None:
    limit = budget()
    ended(limit, 10 * SECOND_NS, 100 * MS)
    now_ns = 20 * SECOND_NS  # the budget of 0.5 s is full again
    assert limit.available(now_ns, 0) == 5
    assert limit.available(now_ns, 2) == 3


def test_ten_long_calls_at_once_do_not_slip_past() -> None:
    limit = budget()
    ended(limit, 10 * SECOND_NS, 200 * MS)
    now_ns, started = 20 * SECOND_NS, 0
    for _ in range(10):
        if limit.available(now_ns, 0):
            limit.spend(now_ns, 1)
            started += 1
    assert started == 2


def test_work_in_progress_counts_with_what_it_has_taken() -> None:
    limit = budget()
    ended(limit, 10 * SECOND_NS, 100 * MS)
    limit.progress(1, 450 * MS)
    assert limit.available(20 * SECOND_NS, 0) == 0
    limit.progress(1, 0)
    assert limit.available(20 * SECOND_NS, 0) == 4


def test_a_debt_is_paid_back_before_the_next_call() -> None:
    limit = budget()
    ended(limit, 20 * SECOND_NS, 3 * SECOND_NS)  # the budget was 0.5 s: 2.5 s of debt, and half a second to start
    assert limit.available(20 * SECOND_NS, 0) == 0
    assert limit.next_at(20 * SECOND_NS, 0) == 26 * SECOND_NS
    assert limit.available(26 * SECOND_NS, 0) == 1


def test_the_expected_cost_rises_at_once_and_falls_slowly() -> None:
    limit = budget(1.0)
    ended(limit, 100 * SECOND_NS, 800 * MS)
    assert limit.available(200 * SECOND_NS, 0) == 1
    for second in range(300, 305):
        ended(limit, second * SECOND_NS, 1 * MS)
    assert limit.available(400 * SECOND_NS, 0) == 2
    for second in range(500, 540):
        ended(limit, second * SECOND_NS, 1 * MS)
    assert limit.available(600 * SECOND_NS, 0) > 100


def test_cpu_and_run_time_are_told_apart() -> None:
    cpu, wall = budget(cpu=True), budget(cpu=False)
    for limit in (cpu, wall):
        limit.spend(0, 1)
        limit.charge(10 * SECOND_NS, 1, 400 * MS, 10 * MS)
    assert (cpu.available(10 * SECOND_NS, 0), wall.available(10 * SECOND_NS, 0)) == (49, 0)


@given(costs=st.lists(st.integers(1, 900), min_size=1, max_size=40))
def test_the_mean_never_exceeds_the_budget(costs: list[int]) -> None:
    limit, now_ns, total_ns = budget(), 0, 0
    for cost_ms in costs:
        now_ns = max(now_ns, limit.next_at(now_ns, 0))
        assert limit.available(now_ns, 0) > 0
        limit.spend(now_ns, 1)
        now_ns += cost_ms * MS
        limit.charge(now_ns, 1, cost_ms * MS, cost_ms * MS)
        total_ns += cost_ms * MS
        # What was saved up at the start, what has flowed in since, and the overrun of the last call.
        assert total_ns <= SECOND_NS // 2 + now_ns // 2 + cost_ms * MS
