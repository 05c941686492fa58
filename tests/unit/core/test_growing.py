"""Totals of counters that begin anew: they never fall, whatever their sources say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.core.growing import Growing


def test_a_source_that_begins_anew_counts_on() -> None:
    growing = Growing()
    for count in (5, 7, 2, 3):
        growing.seen("link", {"polls": count})
    assert growing.totals == {"polls": 10}


def test_two_sources_of_one_name_are_added_and_one_that_is_forgotten_stays() -> None:
    growing = Growing()
    growing.seen(1, {"a": 5})
    growing.seen(2, {"a": 3})
    growing.forget(1)
    assert (growing.totals, growing.sources()) == ({"a": 8}, [2])
    growing.seen(1, {"a": 1})
    assert growing.totals == {"a": 9}


def test_names_have_an_end() -> None:
    growing = Growing(most=2)
    growing.seen(1, {"a": 1, "b": 1, "c": 1})
    growing.seen(1, {"a": 2, "c": 5})
    assert growing.totals == {"a": 2, "b": 1}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**60))))
def test_a_total_never_falls(said: list[tuple[int, int]]) -> None:
    growing, before = Growing(), 0
    for source, count in said:
        growing.seen(source, {"a": count})
        assert growing.totals["a"] >= before
        before = growing.totals["a"]
