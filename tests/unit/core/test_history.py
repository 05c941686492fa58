"""What is shown of the past is bounded and printable; an action that ends workers is counted until it does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.core.history import Culprits, History, Why, first_names, is_worth_a_line, shown


@given(st.text())
def test_what_is_shown_can_be_printed_and_is_short(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) <= 10 * 300


def test_control_characters_are_shown_as_their_escapes() -> None:
    assert shown("a\x1b]0;owned\x07\nb\x9b31m\u202e") == r"a\x1b]0;owned\x07\nb\x9b31m\u202e"
    assert shown("\ud800") == r"\ud800"
    assert shown("Größe ok") == "Größe ok"
    assert shown("x" * 301) == "x" * 297 + "..."


def test_the_last_replacements_are_kept_newest_first() -> None:
    history = History()
    for number in range(30):
        history.note(number, number % 4, Why("died", "\x1b", "act"))
    found = list(history)
    assert [each.at_ns for each in found] == list(range(29, 9, -1))
    assert found[0].why == Why("died", r"\x1b", "act")


def test_an_action_that_ends_workers_is_counted() -> None:
    culprits = Culprits()
    assert [culprits.ended("bad", worker_id) for worker_id in (1, 2, 3)] == [1, 2, 3]
    culprits.ended("worse", 4)
    assert culprits.counts() == {"bad": 3, "worse": 1}


def test_a_run_that_ends_no_worker_begins_the_count_anew() -> None:
    culprits = Culprits()
    culprits.ended("bad", 1)
    culprits.ended("bad", 2)
    culprits.finished("bad", 3)
    assert culprits.counts() == {}
    assert culprits.ended("bad", 4) == 1


def test_the_answer_of_a_run_for_which_the_worker_then_leaves_does_not() -> None:
    culprits = Culprits()
    for worker_id in (1, 2, 3):
        culprits.finished("bad", worker_id)
        assert culprits.ended("bad", worker_id) == worker_id
    culprits.finished("bad", 4)
    culprits.finished("bad", 4)  # the first of the two ended nothing
    assert culprits.ended("bad", 4) == 1


def test_other_actions_have_nothing_to_do_with_it() -> None:
    culprits = Culprits()
    culprits.ended("bad", 1)
    culprits.finished("good", 1)
    assert culprits.counts() == {"bad": 1}


def test_names_without_end_do_not_fill_the_memory() -> None:
    culprits = Culprits()
    for number in range(5000):
        culprits.ended(str(number), 1)
    assert len(culprits.rows) <= 1000


def test_a_row_is_worth_a_line_once_per_doubling() -> None:
    assert [count for count in range(1, 40) if is_worth_a_line(count)] == [2, 4, 8, 16, 32]


def test_the_first_of_many_names_and_how_many_more() -> None:
    assert first_names(["b", "a"]) == ["b", "a"]
    assert first_names([]) == []
    many = first_names([f"n{number}" for number in range(5000)])
    assert (len(many), many[0], many[-1]) == (21, "n0", "and 4980 more")
    assert first_names(["x" * 500, "\x1b[2J"]) == ["x" * 57 + "...", r"\x1b[2J"]
