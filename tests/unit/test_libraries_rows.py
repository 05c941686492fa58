"""What `make libraries` makes of its samples: ratios of medians, wrong answers, numbers drawn twice, and the tables."""

from __future__ import annotations

import pytest

from bench.libraries.rows import (
    Footprint,
    Report,
    Round,
    Row,
    Side,
    drawn_twice,
    footprint_table,
    is_same,
    markdown,
    notes_of,
    round_of,
    speed_table,
)

BARE = Side(10.0, 10.0, 10.0)


def against_bare(wall_ms: float, cpu_ms: float, fastest_ms: float = 10.0) -> Round:
    return Round(Side(wall_ms, cpu_ms, fastest_ms), BARE)


EVEN = against_bare(10.0, 10.0)


def row(*rounds: Round, wrong: int = 0, twice: int = 0) -> Row:
    return Row("numpy", "2.4", "warmed", False, 1, list(rounds or (EVEN,)), 40, wrong, 200, twice, ["said: so"])


def test_a_ratio_is_the_median_of_all_rounds() -> None:
    found = row(against_bare(11.0, 10.5), against_bare(30.0, 10.0), against_bare(10.0, 10.6))
    assert (found.wall, found.cpu) == (1.1, 1.05)
    assert found.is_met


@pytest.mark.parametrize(
    ("found", "met", "broken"),
    [
        (row(against_bare(11.2, 10.0)), False, False),
        (row(against_bare(10.0, 11.2)), False, False),
        (row(against_bare(90.0, 90.0)), False, False),
        (row(against_bare(90.0, 90.0, 31.0)), False, True),
        (row(wrong=1), False, True),
        (row(twice=1), False, True),
        (row(), True, False),
    ],
)
def test_what_is_met_and_what_no_noise_explains(found: Row, met: bool, broken: bool) -> None:
    assert (found.is_met, found.is_broken) == (met, broken)
    assert Report({}, [row(), found], [], []).is_broken is broken


def test_a_round_is_the_medians_of_both_sides() -> None:
    calls = [{"wall_ns": ms * 1e6, "cpu_ns": ms * 2e6} for ms in (1, 9, 2)]
    bare = [{"wall_ns": 3e6, "cpu_ns": 4e6}]
    assert round_of(calls, bare) == Round(Side(2.0, 4.0, 2.0), Side(3.0, 4.0, 4.0))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1.0, 1.0000001, True),
        (1.0, 1.1, False),
        (float("nan"), float("nan"), False),
        ("ab", "ab", True),
        ([1, 2], [1, 3], False),
        (7, 8, False),
    ],
)
def test_answers_are_the_same_up_to_the_last_digits(one: object, other: object, same: bool) -> None:
    assert is_same(one, other) is same


def test_numbers_are_counted_by_generator() -> None:
    draws = [{"random": 0.1, "numpy": 0.2}, {"random": 0.2, "numpy": 0.2}, {"random": 0.2, "numpy": 0.3}]
    assert drawn_twice(draws) == (6, 2)


def test_the_tables() -> None:
    footprint = Footprint("torch", True, 25.0, 30.0, [300.0, 310.0, 290.0])
    report = Report({"python": "3.11"}, [row(), row(twice=3)], [footprint], ["torch"])
    assert [line[-1] for line in speed_table(report)[1:]] == ["met", "WRONG"]
    assert footprint_table(report)[1] == ("torch", "exec", "25.0", "30.0", "300.0", "missed")
    assert notes_of(report) == ["NOT MEASURED: torch is not installed (pip install torch)", "numpy, warmed: said: so"]
    text = markdown(report)
    assert text.startswith("python 3.11\n\n| library |")
    assert "| torch | exec | 25.0 |" in text
    assert "- NOT MEASURED: torch" in text
