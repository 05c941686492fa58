"""Claim: of each kind of error the first is written, the others are counted; a count is told once a minute, none is
lost, and neither kinds nor lines grow without a bound."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from arbd.logs.repeats import ErrorKind, Repeated, Repeats

LOOKUP = ErrorKind("action failed", "price", "LookupError", "app.py:19")
OTHER_PLACE = LOOKUP._replace(at="app.py:20")


def test_the_first_is_written_and_the_others_are_told_of_after_a_minute() -> None:
    repeats = Repeats()
    assert [repeats.is_repeated(LOOKUP, 100.0 + n) for n in range(5)] == [False, True, True, True, True]
    assert (repeats.next_at, repeats.take_due(159.9)) == (160.0, [])
    assert repeats.take_due(160.0) == [Repeated(LOOKUP, 4, 60.0)]
    assert repeats.is_repeated(LOOKUP, 161.0)  # the next minute of the same trouble
    assert repeats.next_at == 220.0
    assert repeats.take_due(221.0) == [Repeated(LOOKUP, 1, 61.0)]


def test_after_a_quiet_minute_the_next_is_written_again() -> None:
    repeats = Repeats()
    assert not repeats.is_repeated(LOOKUP, 100.0)
    assert repeats.next_at == inf  # nothing to be told, nobody has to wake up
    assert repeats.take_due(160.0) == []
    assert not repeats.is_repeated(LOOKUP, 160.0)


def test_action_type_and_place_make_a_kind() -> None:
    repeats = Repeats()
    kinds = [LOOKUP, OTHER_PLACE, LOOKUP._replace(action="buy"), LOOKUP._replace(error="KeyError")]
    assert [repeats.is_repeated(kind, 100.0) for kind in kinds] == [False] * 4


def test_the_end_of_a_process_tells_what_is_counted() -> None:
    repeats = Repeats()
    for _ in range(3):
        repeats.is_repeated(LOOKUP, 100.0)
    assert repeats.take_due(101.0, all_of_them=True) == [Repeated(LOOKUP, 2, 1.0)]
    assert repeats.take_due(101.0, all_of_them=True) == []


def test_kinds_that_are_made_anew_for_each_task_fill_neither_log_nor_memory() -> None:
    repeats = Repeats(most=8)
    written = [not repeats.is_repeated(LOOKUP._replace(error=f"Made{n}"), 100.0) for n in range(1000)]
    assert sum(written) == 9  # and one for all the others
    [told] = repeats.take_due(160.0)
    assert (told.kind, told.times) == (ErrorKind("action failed", "price", "others", ""), 991)


def test_a_child_tells_nothing_of_its_parents() -> None:
    repeats = Repeats()
    repeats.is_repeated(LOOKUP, 100.0)
    repeats.is_repeated(LOOKUP, 100.0)
    repeats.clear()
    assert (repeats.next_at, repeats.take_due(200.0, all_of_them=True)) == (inf, [])


@given(st.lists(st.tuples(st.sampled_from([LOOKUP, OTHER_PLACE]), st.floats(0, 100))))
def test_written_and_told_are_all_there_were(steps: list[tuple[ErrorKind, float]]) -> None:
    repeats, now, seen = Repeats(), 0.0, 0
    for kind, passed in steps:
        now += passed
        seen += sum(told.times for told in repeats.take_due(now))
        seen += not repeats.is_repeated(kind, now)
    seen += sum(told.times for told in repeats.take_due(now, all_of_them=True))
    assert seen == len(steps)


def test_kinds_that_are_quiet_make_room_for_new_ones() -> None:
    repeats = Repeats(most=4)
    for n in range(4):
        repeats.is_repeated(LOOKUP._replace(error=f"Old{n}"), 100.0)
    assert [repeats.is_repeated(LOOKUP._replace(error=f"New{n}"), 161.0) for n in range(4)] == [False] * 4
    assert repeats.is_repeated(LOOKUP._replace(error="New3"), 162.0)
