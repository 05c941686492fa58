"""Folded stacks are read as they were written, cut to what was asked for, and never longer than a reply may be."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from arbd.control.folded_stacks import folded, in_action, most, of_pairs, of_tasks, parse

LOOP = "/x/arbd/worker/loop.py"
TOTAL = (
    "_main (/x/arbd/worker/zygote.py:3)",
    f"Loop.run ({LOOP}:177)",
    f"Loop._run_task ({LOOP}:234)",
    "total (/a.py:9)",
)
SLEEPS = (*TOTAL[:2], f"Loop._sleep ({LOOP}:214)")
THREAD = ("_bootstrap (threading.py:1)", "author (/a.py:2)")


def test_lines_that_are_no_stacks_are_left_out() -> None:
    assert parse("a;b 3\n\na;b 2\npy-spy> hello\n 7\nx -1\n") == {("a", "b"): 5}
    assert parse(f"{'f;' * 1000}f 1\n{'y' * 1000} 1") == {("f",) * 200: 1, ("y" * 300,): 1}


def test_only_what_is_in_the_action_counts() -> None:
    stacks = Counter({(*TOTAL, "burn (/a.py:2)"): 3, TOTAL: 2, (*TOTAL[:3], "other (/a.py:90)"): 7})
    assert in_action(stacks, "/a.py:9") == {("total (/a.py:9)", "burn (/a.py:2)"): 3, ("total (/a.py:9)",): 2}
    assert in_action(stacks, "/b.py:1") == {}


def test_of_a_worker_that_has_nothing_to_do_nothing_counts() -> None:
    assert of_tasks(Counter({TOTAL: 2, SLEEPS: 90, THREAD: 1, TOTAL[:2]: 1})) == {TOTAL[2:]: 2, THREAD: 1}


def test_the_most_frequent_are_kept() -> None:
    stacks = Counter({("a", "b"): 1, ("c",): 5, ("d" * 10,): 3})
    assert most(stacks, 11) == [("c", 5), ("d" * 10, 3)]
    assert of_pairs(most(stacks, 100)) == stacks


@given(st.dictionaries(st.tuples(*[st.text(st.sampled_from("ab (:"), min_size=1)] * 2), st.integers(1, 10**9)))
def test_what_is_written_is_read_again(stacks: dict[tuple[str, ...], int]) -> None:
    assert parse(folded(Counter(stacks))) == stacks


def test_a_name_controls_no_terminal_and_forges_no_line() -> None:
    assert folded({("a\x1b[2J\n", "b\u202e (/x\r.py:3)"): 2}) == "a\\x1b[2J\\n;b\\u202e (/x\\r.py:3) 2\n"
