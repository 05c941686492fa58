"""Polls ramp up while tasks come, fall to one gentle poll when none do, and a refused token is hardly ever sent."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.core.backoff import Backoff
from arbd.links.pace import REFUSED_INTERVAL_S, Pace, TokenGate


def make(limit: int = 32, window: int = 1, *, idle: tuple[float, float] = (0.01, 1.0)) -> Pace:
    error = Backoff(0.05, 2.0, jitter=float)
    return Pace(limit=limit, window=window, idle=Backoff(*idle, jitter=float), error=error)


def test_the_window_doubles_each_round_trip_while_tasks_come() -> None:
    pace = make(limit=16)
    sizes = []
    for _ in range(6):
        started = 0
        while pace.start_at(0.0) <= 0.0:
            pace.started()
            started += 1
        sizes.append(started)
        for _ in range(started):
            pace.productive()
            pace.ended()
    assert sizes == [1, 2, 4, 8, 16, 16]


def test_after_a_task_the_next_poll_is_at_once() -> None:
    pace = make()
    pace.started()
    pace.empty(0.0, 0.0)
    pace.ended()
    assert pace.start_at(0.0) > 0.0
    pace.started()
    pace.productive()
    pace.ended()
    assert pace.start_at(0.0) == 0.0


def test_nothing_at_once_leaves_one_poll_that_slows_down() -> None:
    pace = make()
    now, starts = 0.0, []
    for _ in range(9):
        pace.started()
        pace.empty(now, now)
        pace.ended()
        assert pace.window == 1
        starts.append(round(pace.start_at(now) - now, 6))
        now = pace.start_at(now)
    assert starts == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]


def test_a_held_poll_is_followed_at_once() -> None:
    pace = make()
    pace.started()
    pace.empty(started_at=0.0, now=20.0)
    pace.ended()
    assert pace.start_at(20.0) == 20.0


def test_held_polls_give_the_window_back_by_halves() -> None:
    pace = make(window=32)
    for _ in range(8):
        pace.started()
    windows = []
    for _ in range(8):
        pace.empty(started_at=0.0, now=20.0)
        pace.ended()
        windows.append(pace.window)
    assert windows == [16, 8, 4, 2, 1, 1, 1, 1]


def test_the_pause_counts_from_the_start_of_the_poll() -> None:
    """A hub that holds a poll for a short while did a part of the waiting."""
    pace = make(idle=(0.5, 1.0))
    pace.started()
    pace.empty(started_at=0.0, now=0.3)
    pace.ended()
    assert pace.start_at(0.3) == 0.5


def test_calls_that_fail_together_are_one_event() -> None:
    pace = make(window=32)
    for _ in range(32):
        pace.started()
    for number in range(32):
        pace.failed(started_at=0.0, now=1.0 + number / 1000)
        pace.ended()
    assert pace.start_at(1.1) == 1.1  # the pause of one step (0.05 s) since the first failure is over
    assert pace.window == 1
    pace.started()
    pace.failed(started_at=1.1, now=1.2)
    pace.ended()
    assert pace.start_at(1.2) == pytest.approx(1.2 + 0.1)


def test_a_failure_pauses_and_a_success_ends_the_pause() -> None:
    pace = make(window=2)
    pace.started()
    pace.started()
    pace.failed(0.0, 0.0)
    pace.ended()
    assert pace.start_at(0.0) == math.inf  # one is under way, and the window is 1
    pace.productive()
    pace.ended()
    assert pace.start_at(0.0) == 0.0


def test_an_end_changes_nothing_but_the_count() -> None:
    pace = make(window=4)
    pace.started()
    pace.ended()
    assert (pace.under_way, pace.window, pace.start_at(3.0)) == (0, 4, 3.0)


ANSWERS = st.lists(st.tuples(st.sampled_from(["task", "empty", "held", "failed"]), st.floats(0.0, 0.5)), max_size=200)


@given(answers=ANSWERS, limit=st.integers(1, 8))
def test_the_window_is_never_empty_nor_beyond_its_limit(answers: list[tuple[str, float]], limit: int) -> None:
    pace = make(limit=limit)
    now = 0.0
    for answer, gap in answers:
        now = max(now + gap, pace.start_at(now))
        pace.started()
        if answer == "task":
            pace.productive()
        elif answer == "failed":
            pace.failed(now, now)
        else:
            pace.empty(now - (5.0 if answer == "held" else 0.0), now)
        pace.ended()
        assert 1 <= pace.window <= limit
        assert pace.under_way == 0
        assert now <= pace.start_at(now) <= now + 2.0  # never waits longer than the longest back-off


@given(seconds=st.integers(60, 600))
def test_an_idle_minute_costs_few_polls(seconds: int) -> None:
    pace, now, polls = make(), 0.0, 0
    while now < seconds:
        pace.started()
        polls += 1
        pace.empty(now, now)
        pace.ended()
        now = pace.start_at(now)
    assert polls <= seconds + 8


@given(gaps=st.lists(st.floats(0.0, 40.0), min_size=1, max_size=50))
def test_no_minute_sees_three_calls_with_a_refused_token(gaps: list[float]) -> None:
    gate, now, calls = TokenGate(), 0.0, [0.0]
    gate.started(now)
    gate.refused(now)
    for gap in gaps:
        now = max(now + gap, gate.start_at(now))
        gate.started(now)
        gate.refused(now)
        calls.append(now)
    assert all(third - first > 60.0 for first, third in zip(calls, calls[2:], strict=False))


def test_the_gate_counts_both_methods_together() -> None:
    gate = TokenGate()
    gate.refused(0.0)
    assert gate.start_at(5.0) == REFUSED_INTERVAL_S
    gate.started(40.0)  # a poll; a result must wait its turn
    assert gate.start_at(40.0) == 40.0 + REFUSED_INTERVAL_S


def test_an_accepted_token_opens_the_gate() -> None:
    gate = TokenGate()
    gate.refused(0.0)
    gate.started(31.0)
    gate.passed(started_at=31.0)
    assert gate.start_at(31.5) == 31.5


def test_a_long_poll_from_before_the_refusal_proves_nothing() -> None:
    gate = TokenGate()
    gate.refused(10.0)
    gate.passed(started_at=2.0)
    assert gate.closed


def test_another_token_opens_the_gate_that_the_one_before_has_closed() -> None:
    gate = TokenGate(31.0)
    gate.refused(100.0)
    gate.renewed()
    assert (gate.closed, gate.start_at(101.0)) == (False, 101.0)
