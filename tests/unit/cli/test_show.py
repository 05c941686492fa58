"""Tables stay readable on a terminal of any width."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from arbd.cli import _show

COLUMNS = ("worker", "pid", "state", "memory", "age", "running")


def printed(monkeypatch: pytest.MonkeyPatch, width: int, *rows: tuple[str, ...]) -> list[str]:
    out = StringIO()
    terminal = Console(file=out, width=width, highlight=False, markup=False)
    monkeypatch.setattr(_show, "console", lambda: terminal)
    _show.table(COLUMNS, rows)
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [10, 40, 60, 80, 140])
def test_short_columns_are_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = printed(monkeypatch, width, ("0", "31715", "serving", "38 MiB", "3.8 s", "nap for 0.2 s of 120 s"))
    assert (lines[0], lines[2]) == (
        "worker   pid     state     memory   age     running",
        "0        31715   serving   38 MiB   3.8 s   nap for 0.2 s of 120 s",
    )


def test_a_long_column_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    why = "the database does not answer, and nobody knows for how long that has been so already"
    lines = printed(monkeypatch, 80, ("0", "31715", "serving", "38 MiB", "3.8 s", why))
    assert max(map(len, lines)) <= 80
    assert lines[2].startswith("0        31715   serving   38 MiB   3.8 s   the database")
    assert " ".join(line[44:].strip() for line in lines[2:]) == why
