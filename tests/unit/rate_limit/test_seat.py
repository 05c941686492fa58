"""Whatever workers and supervisor do, and in whatever order, no interval of any length sees too many starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seat_support import World
from thoroughness import examples

from arbd.ipc import layout
from arbd.model.limit_spec import LimitSpec, Rates
from arbd.rate_limit.grants.worker_seat import ANSWER_TIMEOUT_NS

MS: Final = 1_000_000
SECOND: Final = 1_000_000_000


def over(starts: list[int], most: int, calls: int, period_ns: int) -> list[tuple[int, int]]:
    """Every pair of starts between which there were more than ``most + calls / period_ns * length``."""
    starts = sorted(starts)
    return [
        (first, last)
        for i, first in enumerate(starts)
        for j, last in enumerate(starts[i:], start=i)
        if (j - i + 1 - most) * period_ns > calls * (last - first)
    ]


def over_window(starts: list[int], most: int, window_ns: int) -> list[int]:
    """Every start that has too many others less than a window behind it."""
    starts = sorted(starts)
    return [first for first, last in zip(starts, starts[most:], strict=False) if last - first < window_ns]


slots = st.integers(0, 2)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("start"), slots, st.integers(1, 12)),
        st.tuples(st.just("wait"), slots, st.integers(0, 400)),
        st.tuples(st.just("interrupted"), slots, st.integers(1, 400)),
        st.tuples(st.just("peek"), slots, st.just(0)),
        st.tuples(st.just("step"), st.integers(0, 300), st.just(0)),
        st.tuples(st.just("look"), st.just(0), st.just(0)),
        st.tuples(st.just("idle"), slots, st.just(0)),
        st.tuples(st.just("kill"), slots, st.just(0)),
        st.tuples(st.just("stall"), st.booleans(), st.just(0)),
    ),
    max_size=80,
)


def play(world: World, script: list[tuple[str, int, int]]) -> None:
    acts: dict[str, Callable[[Any, int], object]] = {
        "start": lambda slot, times: [world.start(slot) for _ in range(times)],
        "wait": lambda slot, ms: world.start(slot, world.now_ns + ms * MS),
        "interrupted": lambda slot, ms: world.start_interrupted(slot, world.now_ns + ms * MS),
        "peek": lambda slot, _: world.seats[slot].peek(),
        "step": lambda ms, _: setattr(world, "now_ns", world.now_ns + ms * MS // 3),
        "look": lambda *_: world.look(),
        "idle": lambda slot, _: world.seats[slot].give_back(),
        "kill": lambda slot, _: world.kill(slot),
        "stall": lambda stalled, _: setattr(world, "stalled", stalled),
    }
    for act, first, second in script:
        acts[act](first, second)


@settings(max_examples=examples(300))
@given(script=steps, per_minute=st.sampled_from([60, 600, 6000]), burst=st.integers(1, 40))
def test_a_token_bucket_is_never_exceeded(script: list[tuple[str, int, int]], per_minute: int, burst: int) -> None:
    world = World(Rates(requests_per_minute=per_minute, burst_size=burst), workers=3)
    play(world, script)
    assert over(world.starts, burst, per_minute, 60 * SECOND) == []


@settings(max_examples=examples(300))
@given(script=steps, most=st.integers(1, 30), window_ms=st.integers(1, 900))
def test_a_sliding_window_is_never_exceeded(script: list[tuple[str, int, int]], most: int, window_ms: int) -> None:
    world = World(Rates(max_requests=most, window_size=window_ms / 1000), workers=3)
    play(world, script)
    assert over_window(world.starts, most, window_ms * MS) == []


@settings(max_examples=examples(200))
@given(script=steps, delay_ms=st.integers(1, 300), per_second=st.integers(1, 20))
def test_spacing_and_window_hold_together(script: list[tuple[str, int, int]], delay_ms: int, per_second: int) -> None:
    world = World(Rates(min_delay=delay_ms / 1000, max_calls_per_second=per_second), workers=3)
    play(world, script)
    assert over_window(world.starts, 1, delay_ms * MS) == []
    assert over_window(world.starts, per_second, SECOND) == []


@settings(max_examples=examples(150))
@given(script=steps, most=st.integers(1, 30))
def test_nothing_that_was_granted_gets_lost(script: list[tuple[str, int, int]], most: int) -> None:
    world = World(Rates(max_requests=most, window_size=0.2), workers=3)
    play(world, script)
    world.stalled = False
    for seat in world.seats:
        seat.give_back()
    world.now_ns += SECOND
    world.look()
    assert world.account.outstanding == 0
    assert world.account.startable(world.now_ns, world.now_ns) == most


@settings(max_examples=examples(150))
@given(script=steps, delay_ms=st.integers(1, 300))
def test_who_waits_as_long_as_told_is_let_through(script: list[tuple[str, int, int]], delay_ms: int) -> None:
    world = World(Rates(min_delay=delay_ms / 1000), workers=3)
    play(world, script)
    world.stalled = False
    for seat in world.seats:
        seat.give_back()  # nobody comes first
    world.look()
    wait_ns = world.start(0)
    world.now_ns += wait_ns
    assert (wait_ns == 0) or world.start(0) == 0


def test_without_a_supervisor_workers_run_dry() -> None:
    world = World(Rates(max_requests=1000, window_size=1), workers=2)
    world.stalled = True
    before = world.now_ns
    assert world.start(0) > 0
    assert world.now_ns == before + ANSWER_TIMEOUT_NS
    assert world.starts == []


def test_a_killed_worker_returns_exactly_what_it_had_not_spent() -> None:
    world = World(Rates(max_requests=4000, window_size=1), workers=2)
    for _ in range(10):  # dry again and again: it is granted more than it uses at once
        world.start(0)
    held = world.words[0][layout.GRANTED] - 10
    assert held > 0
    world.kill(0)
    world.look()
    assert world.account.outstanding == 0
    assert world.account.startable(world.now_ns, world.now_ns) == 4000 - 10


def test_a_worker_killed_between_spending_and_starting_has_spent() -> None:
    world = World(Rates(max_requests=1, window_size=1), workers=2)
    assert world.seats[0].take() == 0  # and dies before it starts anything
    world.kill(0)
    assert world.start(1) == SECOND


def test_a_limited_worker_does_not_ask_again_before_the_time() -> None:
    world = World(Rates(max_requests=1, window_size=1), workers=1)
    world.start(0)
    assert world.start(0) == SECOND
    asked = world.words[0][layout.ASKED]
    world.now_ns += SECOND // 2
    assert world.start(0) == SECOND // 2
    assert world.words[0][layout.ASKED] == asked


def test_a_waiter_is_granted_its_start_ahead_of_time() -> None:
    world = World(Rates(min_delay=0.1), workers=2)
    world.start(0)
    first = world.now_ns
    assert world.start(1, until_ns=first + SECOND) == 0
    assert world.starts == [first, first + 100 * MS]


def test_a_waiter_is_promised_nothing_while_another_may_still_start() -> None:
    world = World(Rates(min_delay=0.1), workers=2)
    assert world.seats[0].peek() == 0  # it may start at any moment now
    world.start_interrupted(1, world.now_ns + 250 * MS)
    assert world.words[1][layout.GRANTED] == 0


def test_a_start_for_later_is_not_promised_to_a_worker_that_has_one_for_now() -> None:
    world = World(Rates(max_requests=2, window_size=0.1), workers=2)
    assert world.seats[0].peek() == 0
    world.start(1)
    words = world.words[0]
    words[layout.UNTIL_NS], words[layout.NEED], words[layout.ASKED] = world.now_ns + SECOND, 1, 99
    world.look()
    assert (words[layout.GRANTED], words[layout.NOT_BEFORE_NS]) == (1, 0)


def test_a_waiter_whose_time_comes_too_late_is_told_at_once() -> None:
    world = World(Rates(min_delay=10.0), workers=1)
    world.start(0)
    before = world.now_ns
    assert world.start(0, until_ns=before + SECOND) == 10 * SECOND
    assert world.now_ns == before


def test_idle_workers_keep_no_more_than_a_thousandth_of_a_limit() -> None:
    world = World(Rates(max_requests=40_000, window_size=60), workers=4)
    for slot in range(4):
        for _ in range(25):
            world.start(slot)
        world.seats[slot].give_back()
    world.look()
    assert 0 < world.account.outstanding <= 40


def test_who_has_one_task_at_a_time_does_not_ask_for_each() -> None:
    world = World(Rates(max_requests=40_000, window_size=60), workers=1)
    for _ in range(400):
        assert world.start(0) == 0
        world.seats[0].give_back()
        world.now_ns += 20 * MS
    assert world.words[0][layout.ASKED] <= 25


def test_what_an_idle_worker_returns_goes_to_others_at_once() -> None:
    world = World(Rates(max_requests=3, window_size=60), workers=2)
    assert world.seats[0].peek() == 0  # it holds one now
    assert [world.start(1) == 0 for _ in range(3)] == [True, True, False]
    assert world.seats[0].give_back()
    world.look()
    assert [world.start(1) == 0 for _ in range(2)] == [True, False]


@pytest.mark.parametrize("word", [layout.SPENT, layout.RETURNED, layout.ENDED, layout.LAST_START_NS, layout.NEED])
@pytest.mark.parametrize("value", [0, 1 << 40, (1 << 64) - 1])
def test_a_worker_that_writes_nonsense_cannot_gain_from_it(word: int, value: int) -> None:
    world = World(Rates(max_requests=20, window_size=1), workers=2)
    world.start(0)
    world.words[0][word] = value
    world.look()
    granted = world.words[0][layout.GRANTED]
    while world.start(1) == 0:
        pass
    assert granted + len(world.starts) - 1 <= 20 + 1
    world.kill(0)
    world.look()
    assert world.account.outstanding >= 0


def test_a_start_under_the_limit_before_is_none_of_the_new_one() -> None:
    """It has not been looked at when the limit is changed: the change must not take it for a start of its own."""
    world = World(Rates(max_requests=7, window_size=60), workers=2)
    assert world.start(0) == 0
    world.account.change(LimitSpec("test", "custom", Rates(min_delay=60)))
    assert world.account.outstanding == 0
    assert world.start(1) == 0
    assert world.start(0) > 0
