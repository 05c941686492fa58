"""What was measured of each library, what is promised of it, and the tables. Pure.

A ratio is of medians: a call inside an action against the same call in bare processes, round by round, the median of
all rounds. The promise: at most ``AT_MOST`` for each library and way, no wrong answer, no random number drawn twice.
Beside it stands the ratio of the fastest calls of both sides, because what others do to a call only adds to it: where
the machine has other load, that is the one to trust.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Final

import msgspec

WAYS: Final = ("at the top", "warmed", "in the action")
AT_MOST: Final = 1.1
FAR_OFF: Final = 3.0  # no noise makes that
OWN_MB: Final = 15.0
REPLACED_MS: Final = 30.0
_SAME: Final = 1e-5  # of floats of 32 bits, added up in another order


class Side(msgspec.Struct, frozen=True):
    """The calls of one side in one round, in ms: medians, and the CPU of the fastest tenth."""

    wall_ms: float
    cpu_ms: float
    fastest_ms: float


class Round(msgspec.Struct, frozen=True):
    """One turn of both sides."""

    arbd: Side
    bare: Side


class Row(msgspec.Struct, frozen=True):
    """One library in one way. ``notes``: what the daemon said about it."""

    library: str
    version: str
    way: str
    by_exec: bool
    threads: int
    rounds: list[Round]
    calls: int
    wrong: int
    drawn: int
    drawn_twice: int
    notes: list[str]
    other_load: float = 0.0  # the share of all CPUs that others had meanwhile

    @property
    def wall(self) -> float:
        return median(each.arbd.wall_ms / each.bare.wall_ms for each in self.rounds)

    @property
    def cpu(self) -> float:
        return median(each.arbd.cpu_ms / each.bare.cpu_ms for each in self.rounds)

    @property
    def fastest(self) -> float:
        return min(each.arbd.fastest_ms for each in self.rounds) / min(each.bare.fastest_ms for each in self.rounds)

    @property
    def is_right(self) -> bool:
        return not (self.wrong or self.drawn_twice)

    @property
    def is_met(self) -> bool:
        return self.is_right and max(self.wall, self.cpu) <= AT_MOST

    @property
    def is_broken(self) -> bool:
        """Whether no noise explains it. The wall clock is no witness: others may have had the CPUs."""
        return not self.is_right or self.fastest > FAR_OFF


class Footprint(msgspec.Struct, frozen=True):
    """A worker of a module that has a library at its top: memory of its own when it begins, and after tasks; and how
    long until a new one has answered, from the moment it was killed."""

    library: str
    by_exec: bool
    own_mb: float
    own_after_mb: float
    replaced_ms: list[float]

    @property
    def is_met(self) -> bool:
        return self.own_mb <= OWN_MB and median(self.replaced_ms) <= REPLACED_MS


class Report(msgspec.Struct, frozen=True):
    """Everything of one run. ``missing``: what is not installed, and so was not measured."""

    facts: dict[str, str]
    rows: list[Row]
    footprints: list[Footprint]
    missing: list[str]

    @property
    def is_broken(self) -> bool:
        return any(row.is_broken for row in self.rows)


def round_of(calls: Iterable[Mapping[str, Any]], bare: Iterable[Mapping[str, Any]]) -> Round:
    """What came of the calls of both sides."""
    return Round(_side(calls), _side(bare))


def _side(calls: Iterable[Mapping[str, Any]]) -> Side:
    wall, cpu = zip(*((call["wall_ns"] / 1e6, call["cpu_ns"] / 1e6) for call in calls), strict=True)
    return Side(median(wall), median(cpu), sorted(cpu)[len(cpu) // 10])


def is_same(one: object, other: object) -> bool:
    """Whether two answers are the same, up to the last digits of a float."""
    if isinstance(one, float) and isinstance(other, (float, int)):
        return math.isclose(one, other, rel_tol=_SAME)
    return one == other


def drawn_twice(draws: Iterable[Mapping[str, float]]) -> tuple[int, int]:
    """How many random numbers there are, and how many of them were drawn before by the same kind of generator."""
    numbers = [item for draw in draws for item in draw.items()]
    return len(numbers), len(numbers) - len(set(numbers))


# -- tables ----------------------------------------------------------------------------------------------------------


def speed_table(report: Report) -> list[tuple[str, ...]]:
    """The head, and a line for each row."""
    head = (
        "library",
        "imported",
        "by",
        "wall",
        "CPU",
        "fastest",
        "bare, ms",
        "wrong",
        "drawn twice",
        "other load",
        "",
    )
    return [head, *map(_speed_line, report.rows)]


def _speed_line(row: Row) -> tuple[str, ...]:
    bare = median(each.bare.cpu_ms for each in row.rounds)
    return (
        f"{row.library} {row.version}",
        row.way,
        "exec" if row.by_exec else "fork",
        f"{row.wall:.2f}",
        f"{row.cpu:.2f}",
        f"{row.fastest:.2f}",
        f"{bare:.1f}",
        f"{row.wrong} of {row.calls}",
        f"{row.drawn_twice} of {row.drawn}",
        f"{row.other_load:.0%}",
        "met" if row.is_met else "missed" if row.is_right else "WRONG",
    )


def footprint_table(report: Report) -> list[tuple[str, ...]]:
    """The head, and a line for each footprint."""
    head = ("at the top", "by", "memory of its own, MB", "after tasks, MB", "replaced in, ms", "")
    return [head, *map(_footprint_line, report.footprints)]


def _footprint_line(of: Footprint) -> tuple[str, ...]:
    return (
        of.library,
        "exec" if of.by_exec else "fork",
        f"{of.own_mb:.1f}",
        f"{of.own_after_mb:.1f}",
        f"{median(of.replaced_ms):.1f}",
        "met" if of.is_met else "missed",
    )


def notes_of(report: Report) -> list[str]:
    """What is missing, loudly; and what the daemon said, once for each library and way."""
    missing = [f"NOT MEASURED: {name} is not installed (pip install {name})" for name in report.missing]
    said = dict.fromkeys(f"{row.library}, {row.way}: {note}" for row in report.rows for note in row.notes)
    return [*missing, *said]


def markdown(report: Report) -> str:
    """All of it, for a document."""
    facts = ", ".join(f"{name} {value}" for name, value in report.facts.items())
    tables = [_markdown_table(table) for table in (speed_table(report), footprint_table(report)) if len(table) > 1]
    notes = "\n".join(f"- {note}" for note in notes_of(report))
    return "\n\n".join([facts, *tables, notes]).rstrip() + "\n"


def _markdown_table(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rest])
