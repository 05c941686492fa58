"""Bounds lie near the settings and are the same each time; what a fresh worker holds already is no reason; one worker
at a time has its turn, and none waits for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.core.recycling import (
    HARD_LOOK_S,
    HOLD_S,
    JITTER,
    LOOK_S,
    Bounds,
    RecycleLimits,
    ReplacementQueue,
    ReplacementRequest,
    Usage,
    bounds_of,
    judge,
    next_look_s,
    without_unreachable,
)

SECOND_NS = 1_000_000_000
NONE = Bounds(0, 0, 0, 0)
limits = st.builds(
    RecycleLimits,
    max_tasks=st.integers(0, 10**9),
    max_age_s=st.sampled_from([0.0]) | st.floats(1e-3, 1e6),
    max_memory=st.integers(0, 1 << 40),
    max_fds=st.integers(0, 10**6),
    memory_limit=st.integers(0, 1 << 40),
)
ids = st.integers(1, 10**6)


@given(limits, ids)
def test_each_bound_lies_near_its_setting_and_no_setting_is_no_bound(limits: RecycleLimits, worker_id: int) -> None:
    bounds = bounds_of(limits, worker_id)
    settings = (limits.max_tasks, limits.max_age_s * 1e9, limits.max_memory, limits.max_fds)
    for bound, setting in zip(bounds, settings, strict=True):
        assert (bound == 0) == (setting == 0)
        assert abs(bound - setting) <= JITTER * setting + 1
    assert bounds == bounds_of(limits, worker_id)


@given(st.integers(1, 10**9), ids)
def test_the_bound_of_tasks_is_never_above_the_setting_and_never_none(most: int, worker_id: int) -> None:
    assert max(1, round(most * (1 - JITTER))) <= bounds_of(RecycleLimits(max_tasks=most), worker_id).max_tasks <= most


def test_workers_that_start_together_do_not_leave_together() -> None:
    bounds = [bounds_of(RecycleLimits(1000, 100.0, 1 << 30, 1000), worker_id) for worker_id in range(1, 65)]
    for of_one_kind in zip(*bounds, strict=True):
        assert len(set(of_one_kind)) > 32


@given(limits, ids, st.integers(0, 1 << 41), st.integers(0, 10**6))
def test_what_a_fresh_worker_holds_is_no_reason_to_replace_it(
    limits: RecycleLimits, worker_id: int, memory: int, fds: int
) -> None:
    fresh = Usage(0, memory, fds)
    assert judge(without_unreachable(bounds_of(limits, worker_id), fresh), fresh) is None


def test_bounds_that_are_not_reached_stay() -> None:
    bounds = Bounds(10, 20, 30, 40)
    assert without_unreachable(bounds, Usage(100, 30, 40)) == bounds
    assert without_unreachable(bounds, Usage(100, 31, 41)) == Bounds(10, 20, 0, 0)


def test_the_bound_that_a_worker_is_over_is_named() -> None:
    bounds = Bounds(0, 10, 20, 30)
    assert judge(bounds, Usage(10, 20, 30)) is None
    assert judge(bounds, Usage(11, 20, 30)) == "age"
    assert judge(bounds, Usage(11, 20, 31)) == "descriptors"
    assert judge(bounds, Usage(11, 21, 31)) == "memory"
    assert judge(NONE, Usage(1 << 60, 1 << 60, 1 << 20)) is None


def test_nobody_looks_without_a_limit_and_often_only_where_a_task_may_be_ended() -> None:
    assert next_look_s(RecycleLimits(max_tasks=5), True) is None
    assert next_look_s(RecycleLimits(max_memory=5), True) == LOOK_S
    assert next_look_s(RecycleLimits(memory_limit=5), False) == LOOK_S
    assert next_look_s(RecycleLimits(memory_limit=5), True) == HARD_LOOK_S


# -- queue -----------------------------------------------------------------------------------------------------------


def request(worker_id: int) -> ReplacementRequest:
    return ReplacementRequest(worker_id, "age", "old")


def test_they_come_one_after_the_other_in_their_order() -> None:
    queue = ReplacementQueue()
    for worker_id in (3, 1, 2, 1):
        queue.add(request(worker_id))
    order = []
    while (begun := queue.begin(0, {1, 2, 3})) is not None:
        assert queue.begin(0, {1, 2, 3}) is None
        order.append(begun.worker_id)
        queue.ended(begun.worker_id)
    assert order == [3, 1, 2]


def test_one_that_is_being_replaced_does_not_wait_for_another() -> None:
    queue = ReplacementQueue()
    queue.add(request(1))
    queue.begin(0, {1})
    queue.add(request(1))
    queue.ended(1)
    assert queue.begin(0, {1}) is None


def test_one_that_has_gone_meanwhile_is_forgotten() -> None:
    queue = ReplacementQueue()
    queue.add(request(1))
    queue.add(request(2))
    assert queue.begin(0, {2}) == request(2)


def test_a_long_task_of_one_holds_up_the_others_only_for_a_while() -> None:
    queue = ReplacementQueue()
    queue.add(request(1))
    queue.begin(0, {1, 2})
    queue.add(request(2))
    assert queue.begin(10 * SECOND_NS, {1, 2}) is None  # its successor is not there
    queue.succeeded(1, 10 * SECOND_NS)
    hold_ns = round(HOLD_S * 1e9)
    assert queue.begin(10 * SECOND_NS + hold_ns - 1, {2}) is None
    assert queue.begin(10 * SECOND_NS + hold_ns, {2}) == request(2)


@given(st.lists(st.tuples(st.sampled_from(["add", "begin", "succeeded", "ended", "later"]), st.integers(1, 5))))
def test_whatever_happens_at_most_one_is_replaced_at_a_time_and_all_are(steps: list[tuple[str, int]]) -> None:
    queue, now_ns, present = ReplacementQueue(), 0, {1, 2, 3, 4, 5}
    asked: set[int] = set()
    for step, worker_id in steps:
        if step == "add":
            queue.add(request(worker_id))
            asked.add(worker_id)
        elif step == "begin":
            before = queue.current
            begun = queue.begin(now_ns, present)
            assert begun is None or queue.current == begun.worker_id != before
        elif step == "succeeded":
            queue.succeeded(worker_id, now_ns)
        elif step == "ended":
            queue.ended(worker_id)
            asked.discard(worker_id)
        else:
            now_ns += SECOND_NS
    for _ in range(6):  # all that is left ends, one after the other
        if queue.current is not None:
            asked.discard(queue.current)
            queue.ended(queue.current)
        queue.begin(now_ns, present)
    assert queue.current is None
