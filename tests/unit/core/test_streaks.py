"""A worker is broken where it fails what another does well, and only there."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from arbd.core.streaks import LENGTH, Streaks


def note(streaks: Streaks, worker_id: int, count: int, *, failed: bool, action: str = "act") -> list[bool]:
    return [streaks.note(action, worker_id, failed=failed) for _ in range(count)]


def test_one_that_fails_what_another_does_well_is_broken_and_that_is_said_once() -> None:
    streaks = Streaks()
    assert not any(note(streaks, 1, LENGTH, failed=True))
    assert not any(note(streaks, 2, LENGTH, failed=False))
    assert note(streaks, 1, LENGTH, failed=True) == [True, *[False] * (LENGTH - 1)]
    assert note(streaks, 1, 1, failed=True) == [True], "if it is still there"


def test_an_action_that_fails_in_all_is_itself_to_blame() -> None:
    streaks = Streaks()
    for _ in range(10):
        for worker_id in range(4):
            assert not any(note(streaks, worker_id, LENGTH, failed=True))


def test_other_actions_say_nothing_of_it() -> None:
    streaks = Streaks()
    note(streaks, 1, 1, failed=True, action="other")
    note(streaks, 2, LENGTH, failed=False, action="other")
    assert not any(note(streaks, 1, 10 * LENGTH, failed=True))


def test_a_success_begins_anew() -> None:
    streaks = Streaks()
    note(streaks, 3, 1, failed=True)
    note(streaks, 2, LENGTH, failed=False)
    assert not any(note(streaks, 1, LENGTH - 1, failed=True))
    note(streaks, 1, 1, failed=False)
    assert not any(note(streaks, 1, LENGTH - 1, failed=True))
    assert note(streaks, 1, 1, failed=True) == [True]


def test_nothing_is_counted_once_nobody_fails() -> None:
    streaks = Streaks()
    note(streaks, 1, 3, failed=True)
    note(streaks, 2, 3, failed=True)
    note(streaks, 1, 1, failed=False)
    assert streaks.watched
    note(streaks, 2, 1, failed=False)
    assert not streaks.watched
    note(streaks, 1, 1, failed=True)
    streaks.forget(1)
    assert not streaks.watched


@given(st.floats(0.05, 0.95), st.integers(0, 2**32))
def test_chance_breaks_nobody(share: float, seed: int) -> None:
    streaks, rng = Streaks(), random.Random(seed)
    assert not any(streaks.note("act", rng.randrange(4), failed=rng.random() < share) for _ in range(400))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3), st.booleans())))
def test_only_what_fails_is_watched(answers: list[tuple[str, int, bool]]) -> None:
    streaks = Streaks()
    last: dict[tuple[str, int], bool] = {}
    for action, worker_id, failed in answers:
        streaks.note(action, worker_id, failed=failed)
        last[action, worker_id] = failed
        assert set(streaks.watched) == {each for (each, _), fails in last.items() if fails}


def test_it_stays_bounded() -> None:
    streaks = Streaks()
    for number in range(3_000):
        streaks.note(f"a{number}", 1, failed=True)
    assert len(streaks.watched) <= 1_000
