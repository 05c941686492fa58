"""An action that is not known is looked at fully after each run; a proven one seldom, and never not for 100 ms."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.worker.looks import FULL_APART_NS, PROOF, QUICK_APART_NS, Looks

MS = 1_000_000


def proven(action: str, now_ns: int) -> Looks:
    looks = Looks()
    for _ in range(PROOF):
        assert looks.due(action, now_ns) == "full"
        looks.looked(action, "full", now_ns, found=False)
    return looks


def test_a_proven_action_is_looked_at_quickly_and_not_twice_in_50_milliseconds() -> None:
    now_ns = 100 * MS
    looks = proven("act", now_ns)
    assert looks.proven == {"act"}
    assert looks.due("act", now_ns + QUICK_APART_NS - 1) is None
    assert looks.due("act", now_ns + QUICK_APART_NS) == "quick"
    looks.looked("act", "quick", now_ns + QUICK_APART_NS, found=False)
    assert looks.due("act", now_ns + 2 * QUICK_APART_NS - 1) is None
    assert looks.due("act", now_ns + FULL_APART_NS) == "full"


def test_whether_the_last_look_was_a_full_one_is_known() -> None:
    looks = Looks()
    assert looks.is_full  # nothing has run
    looks.looked("act", "quick", 1, found=False)
    assert not looks.is_full
    looks.looked("act", "full", 2, found=False)
    assert looks.is_full


def test_others_are_not_proven_by_it() -> None:
    looks = proven("act", 0)
    assert looks.due("other", 0) == "full"


def test_what_changed_something_has_to_prove_itself_again() -> None:
    looks = proven("act", 0)
    looks.looked("act", "quick", 0, found=True)
    assert looks.proven == set()
    looks = Looks()
    for _ in range(10 * PROOF):
        looks.looked("act", "full", 0, found=False)
        looks.looked("act", "full", 0, found=True)
    assert looks.proven == set()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 15 * MS), st.booleans()), max_size=200))
def test_nobody_is_trusted_for_longer_than_100_ms(runs: list[tuple[str, int, bool]]) -> None:
    looks, now_ns, last_full_ns = Looks(), 0, 0
    for action, after_ns, found in runs:
        now_ns += after_ns
        depth = looks.due(action, now_ns)
        if depth is not None:
            looks.looked(action, depth, now_ns, found=found)
        if depth == "full":
            last_full_ns = now_ns
        assert now_ns - last_full_ns < FULL_APART_NS or depth == "full"
