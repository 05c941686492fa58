"""Bytes become lines, whatever they are and however they come; a task shows so many and no more, and the rest is
counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.logs.lines import BYTES_PER_S, LINES_PER_S, MAX_LINE, MOST_BYTES, MOST_LINES, Budget, Line, LineCutter


def cut(*pieces: bytes) -> list[str]:
    cutter = LineCutter()
    lines = [line.text for piece in pieces for line in cutter.feed(piece)]
    return lines + [f"held {line.text}" for line in cutter.flush()]


def test_lines_end_where_they_end() -> None:
    assert cut(b"a\nb", b"c\n", b"d") == ["a", "bc", "held d"]
    assert cut(b"a\r\nb\r", b"\n") == ["a", "b"]
    assert cut(b"\n  \n\n") == []
    assert cut() == []


def test_a_carriage_return_begins_the_line_anew() -> None:
    assert cut(b"\r 10 %", b"\r 20 %\r", b" 30 %\n") == [" 30 %"]
    assert cut(b"x" * 3 * MAX_LINE + b"\rshort\n") == ["short"]


def test_what_is_no_text_is_escaped() -> None:
    assert cut(b"\xff\x00 \xc3", b"\xa4\n") == ["\\xff\x00 ä"]


def test_a_long_line_is_held_in_part_only() -> None:
    cutter = LineCutter()
    for _ in range(100):
        assert cutter.feed(b"x" * MAX_LINE) == []
        assert cutter
    [line] = cutter.flush()
    assert MAX_LINE < len(line.data) < 2 * MAX_LINE
    assert len(line.data) + line.left_out == 100 * MAX_LINE
    assert not cutter
    assert cutter.feed(b"next\n") == [Line(b"next")]


def test_what_is_held_can_be_taken() -> None:
    cutter = LineCutter()
    cutter.feed(b"a\nbc")
    assert cutter.take() == b"bc"
    assert cutter.flush() == []


@given(st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\r", b""))))
def test_how_the_bytes_come_makes_no_difference(pieces: list[bytes]) -> None:
    whole = LineCutter()
    lines = [*whole.feed(b"".join(pieces)), *whole.flush()]
    cutter = LineCutter()
    found = [line for piece in pieces for line in cutter.feed(piece)] + cutter.flush()
    assert found == lines
    assert [line.data for line in found] == [part for part in b"".join(pieces).split(b"\n") if part.strip()]


class TestBudget:
    def test_lines(self) -> None:
        budget = Budget(0.0)
        assert sum(budget.takes(1, 0.0) for _ in range(MOST_LINES + 50)) == MOST_LINES
        assert (budget.lines_left(0.0), budget.take_dropped()) == (0, (50, 50))
        assert budget.take_dropped() == (0, 0)

    def test_bytes(self) -> None:
        budget = Budget(0.0)
        assert [budget.takes(MOST_BYTES - 1, 0.0), budget.takes(2, 0.0), budget.takes(1, 0.0)] == [True, False, True]
        assert budget.take_dropped() == (1, 2)

    def test_a_task_that_runs_for_long_may_go_on(self) -> None:
        budget = Budget(0.0)
        for _ in range(MOST_LINES):
            budget.takes(1, 0.0)
        assert budget.lines_left(2.0) == 2 * LINES_PER_S
        assert sum(budget.takes(1, 2.0) for _ in range(1_000)) == 2 * LINES_PER_S
        assert budget.lines_left(1e9) == MOST_LINES
        assert BYTES_PER_S < MOST_BYTES

    def test_the_next_task_begins_anew(self) -> None:
        budget = Budget(0.0)
        budget.drop(3, 30)
        for _ in range(MOST_LINES + 1):
            budget.takes(1, 0.0)
        budget.renew(0.0)
        assert budget.takes(1, 0.0)
        assert budget.take_dropped() == (0, 0)

    def test_a_clock_that_goes_back_grants_nothing(self) -> None:
        budget = Budget(10.0)
        for _ in range(MOST_LINES):
            budget.takes(1, 10.0)
        assert not budget.takes(1, 5.0)
        assert budget.lines_left(4.0) == 0
