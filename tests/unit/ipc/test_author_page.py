"""The page of an author's metrics: whoever reads it sees whole names and values that only grow, whenever its writer is
killed, and whoever writes goes on where the one before has stopped."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.ipc import author_page
from arbd.ipc.author_page import AuthorPageReader, AuthorPageWriter
from arbd.model.metric import MetricDefinition

ORDERS = MetricDefinition("counter", "orders", "Orders.", ("kind",))
SIZES = MetricDefinition("histogram", "sizes", "Sizes.", buckets=(1.0, 2.0))
HELD = MetricDefinition("gauge", "held", "Held.", ("kind",))


def a_page(limit: int = 50) -> memoryview:
    words = memoryview(bytearray(author_page.page_bytes(limit))).cast("Q")
    author_page.begin(words, limit)
    return words


def seen(words: memoryview) -> dict[tuple[str, tuple[str, ...]], list[float]]:
    """What a reader that begins now finds."""
    reader = AuthorPageReader(words)
    found = [each for each in reader.news() if each.labelvalues is not None]
    values = reader.values()
    return {
        (each.definition.name, each.labelvalues or ()): list(values[each.at : each.at + each.definition.cells])
        for each in found
    }


def cells_of(page: AuthorPageWriter, definition: MetricDefinition, *labelvalues: str) -> memoryview[float]:
    cells = page.series(definition, labelvalues, 2)
    assert cells is not None
    return cells


def test_what_is_written_is_read() -> None:
    words = a_page()
    page = AuthorPageWriter(words)
    assert page.define(ORDERS, 1)
    assert page.define(SIZES, 1)
    cells_of(page, ORDERS, "a")[0] += 2
    sizes = cells_of(page, SIZES)
    sizes[2] += 1
    sizes[0] += 1.5
    assert seen(words) == {("orders", ("a",)): [2], ("sizes", ()): [1.5, 0, 1, 0]}


def test_the_same_series_has_the_same_place() -> None:
    page = AuthorPageWriter(a_page())
    page.define(ORDERS, 1)
    cells_of(page, ORDERS, "a")[0] = 7
    assert cells_of(page, ORDERS, "a")[0] == 7
    assert cells_of(page, ORDERS, "b")[0] == 0


def test_news_are_told_once_and_as_they_come() -> None:
    words = a_page()
    page, reader = AuthorPageWriter(words), AuthorPageReader(words)
    page.define(ORDERS, 1)
    assert [each.labelvalues for each in reader.news()] == [None]
    cells_of(page, ORDERS, "a")
    assert [each.labelvalues for each in reader.news()] == [("a",)]
    assert reader.news() == []


def test_the_next_worker_counts_on_and_gauges_begin_anew() -> None:
    words = a_page()
    page = AuthorPageWriter(words)
    for definition in (ORDERS, HELD):
        page.define(definition, 1)
        cells_of(page, definition, "a")[0] = 5
    page = AuthorPageWriter(words)
    page.define(ORDERS, 2)
    assert cells_of(page, ORDERS, "a")[0] == 5
    assert seen(words)["held", ("a",)] == [0, 0]


def test_gauges_are_those_of_a_worker_that_is_there() -> None:
    words = a_page()
    reader = AuthorPageReader(words)
    author_page.own(words, 7)
    assert not reader.is_live
    AuthorPageWriter(words).attach(7)
    assert reader.is_live
    author_page.own(words, 0)
    assert not reader.is_live
    author_page.own(words, 8)  # it has begun, and may not have cleared what the one before has left
    assert not reader.is_live


def test_a_definition_that_is_there_holds_from_when_it_was_begun_with_last() -> None:
    words = a_page()
    reader = AuthorPageReader(words)
    AuthorPageWriter(words).define(ORDERS, 1)
    AuthorPageWriter(words).define(ORDERS, 5)
    reader.news()
    assert reader.definitions == [(5, ORDERS)]


@pytest.mark.parametrize("limit", [0, 1, 2, 10])
def test_no_more_than_there_is_room_for(limit: int) -> None:
    page = AuthorPageWriter(a_page(limit))
    assert page.define(ORDERS, 1) is (limit > 0)
    given_out = [page.series(ORDERS, (str(number),), 2) for number in range(30)]
    assert sum(cells is not None for cells in given_out) == limit
    assert page.series(ORDERS, ("0",), 3) is not None or not limit  # one that is there stays


def test_a_text_that_is_too_long_is_none() -> None:
    page = AuthorPageWriter(a_page())
    page.define(ORDERS, 1)
    assert page.series(ORDERS, ("x" * author_page.MOST_RECORD,), 2) is None
    assert page.series(ORDERS, ("x",), 2) is not None


def test_texts_fill_up_before_the_lines_do() -> None:
    page = AuthorPageWriter(a_page(1000))
    page.define(ORDERS, 1)
    series = [page.series(ORDERS, (f"{number}" + "x" * 4000,), 2) for number in range(1000)]
    assert 0 < sum(cells is not None for cells in series) < 1000


# -- killed at any instant ---------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nothing more of it runs."""


def killed_after(lines: int, act: Callable[[], None]) -> bool:
    """Do it, and end it after so many lines of the writer; whether it had come that far."""
    left = lines

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != author_page.__file__:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                raise Killed
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except Killed:
        return False
    finally:
        sys.settrace(before)
    return True


def test_a_writer_that_is_killed_anywhere_leaves_whole_records_and_room_for_the_next() -> None:
    for lines in range(200):
        words = a_page()
        page = AuthorPageWriter(words)
        page.define(ORDERS, 1)
        cells_of(page, ORDERS, "before")[0] = 3
        early = AuthorPageReader(words)
        early.news()

        def act(page: AuthorPageWriter = page) -> None:
            page.define(SIZES, 1)
            cells_of(page, ORDERS, "killed")[0] += 1
            cells_of(page, SIZES)[1] += 1

        is_over = killed_after(lines, act)
        found = seen(words)
        assert found["orders", ("before",)] == [3]
        assert set(found) <= {("orders", ("before",)), ("orders", ("killed",)), ("sizes", ())}

        page = AuthorPageWriter(words)
        assert page.define(SIZES, 2)
        assert cells_of(page, ORDERS, "before")[0] == 3
        cells_of(page, ORDERS, "killed")[0] += 10
        cells_of(page, SIZES)[1] += 10
        cells_of(page, ORDERS, "next")[0] += 10
        now = seen(words)
        assert all(now[key] >= value for key, value in found.items())
        assert now["orders", ("next",)] == [10]
        told = {each.labelvalues for each in early.news()}  # one that has seen the half of it sees the rest
        assert {("killed",), ("next",)} <= told
        if is_over:
            break
    assert is_over


def test_an_interrupt_in_the_middle_that_writes_too_tears_nothing() -> None:
    """A signal's handler or a __del__ of the author's may need a new series in the middle of one."""
    for lines in range(100):
        words = a_page()
        page = AuthorPageWriter(words)
        page.define(ORDERS, 1)
        left = lines

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename != author_page.__file__:
                return None
            if event == "line":
                left -= 1
                if left == -1:
                    sys.settrace(None)
                    cells_of(page, ORDERS, "inner")[0] += 1  # noqa: B023 - called before the loop goes on
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            cells_of(page, ORDERS, "outer")[0] += 1
        finally:
            sys.settrace(before)
        if left >= 0:
            break
        assert seen(words) == {("orders", ("outer",)): [1], ("orders", ("inner",)): [1]}
    assert lines > 10


# -- a worker that has gone mad ----------------------------------------------------------------------------------------


@given(st.randoms(use_true_random=False), st.integers(1, 60))
def test_whatever_a_worker_writes_a_reader_finds_whole_records_or_none(chance: random.Random, stores: int) -> None:
    words = a_page(10)
    page = AuthorPageWriter(words)
    for definition in (ORDERS, SIZES, HELD):
        page.define(definition, 1)
    cells_of(page, ORDERS, "a")
    cells_of(page, SIZES)
    reader = AuthorPageReader(words)
    for _ in range(stores):
        at = chance.randrange(author_page.OWNER, len(words) if chance.random() < 0.3 else 200)
        words[at] = chance.choice([0, 1, 2**64 - 1, chance.randrange(2**64), chance.randrange(300)])
    for each in (reader, AuthorPageReader(words)):
        for found in each.news():
            assert found.at + found.definition.cells <= len(each.values()) or found.labelvalues is None
            assert len(found.labelvalues or found.definition.labelnames) == len(found.definition.labelnames)
        assert isinstance(each.is_live, bool)
        assert len(each.definitions) <= 20
    author_page.begin(words, 10)
    AuthorPageWriter(words).series(ORDERS, ("b",), 3)  # the next worker can begin


@pytest.mark.parametrize(
    "record",
    [
        MetricDefinition("counter", 'x 1\narbd_forged_total 5\n#"', ""),
        MetricDefinition("counter", "arbd_tasks", ""),
        MetricDefinition("histogram", "h", "", buckets=(2.0, 1.0)),
        MetricDefinition("gauge", "g", "", ('a="1"} 5\n',)),
    ],
)
def test_a_definition_that_no_author_could_have_made_is_left_out(record: MetricDefinition) -> None:
    words = a_page()
    AuthorPageWriter(words).define(record, 1)
    assert AuthorPageReader(words).news() == []


def test_a_series_of_no_definition_is_left_out() -> None:
    words = a_page()
    page = AuthorPageWriter(words)
    page.define(ORDERS, 1)
    other = msgspec.structs.replace(ORDERS, labelnames=("a", "b"))
    page.series(other, ("one", "two"), 1)  # of the name that is there, with labels that it has not
    assert [each.labelvalues for each in AuthorPageReader(words).news()] == [None]


@pytest.mark.parametrize("at", [author_page.MAGIC, author_page.VERSION, author_page.LIMIT])
def test_what_is_no_page_is_refused(at: int) -> None:
    words = a_page()
    words[at] = 2**40
    for make in (AuthorPageReader, AuthorPageWriter):
        with pytest.raises(ValueError, match="no page"):
            make(words)
    author_page.begin(words, 50)
    AuthorPageReader(words)


def test_updates_that_are_dropped_are_counted_and_told_once_whoever_has_the_page() -> None:
    words = a_page()
    page = AuthorPageWriter(words)
    page.drop()
    page.drop()
    assert page.tell()
    assert not AuthorPageWriter(words).tell()
    reader = AuthorPageReader(words)
    assert (reader.dropped, reader.is_full) == (2, True)
