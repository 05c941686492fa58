"""The page on the architecture says what is there: the files on a task's way, and the table of who may import whom."""

from __future__ import annotations

import re

import pytest
from documents import ROOT, rows, section, text_of
from test_import_rules import FREE, MAY_IMPORT, USERS

PAGE = "docs/architecture.md"
_ON_THE_WAY = [row[1].strip("`") for row in rows(section(PAGE, "One task over the stream"))]


def told(column: str) -> set[str]:
    """The modules that a cell of a table names."""
    return {f"arbd.{name}" for name in re.findall("`([^`]+)`", column)}


def tables(heading: str) -> list[dict[str, set[str]]]:
    """The tables below a heading that have two columns: package to what is told of it."""
    parts = re.split(r"\n\n(?!\|)", section(PAGE, heading))
    found = [rows(part) for part in parts if "|---|---|" in part]
    return [{f"arbd.{package.strip('`')}": told(names) for package, names in each} for each in found]


def test_a_task_s_way_is_at_most_nine_files() -> None:
    assert 0 < len(_ON_THE_WAY) <= 9
    assert len(set(_ON_THE_WAY)) == len(_ON_THE_WAY)


@pytest.mark.parametrize("file", _ON_THE_WAY)
def test_each_file_on_the_way_is_there(file: str) -> None:
    assert (ROOT / file).is_file()


def test_the_tables_of_imports_are_those_of_the_import_rules() -> None:
    may_import, users = tables("Who may import whom")
    assert may_import == {package: set(names) for package, names in MAY_IMPORT.items()}
    assert users == {package: set(names) for package, names in USERS.items()}


def test_what_everybody_may_import_is_told() -> None:
    first = section(PAGE, "Who may import whom").partition("Beyond that")[0]
    assert {f"arbd.{name}" for name in re.findall(r"`arbd\.(\w+)`", first)} == set(FREE)


def test_every_package_has_its_line() -> None:
    packages = {f"arbd/{file.parent.name}/" for file in (ROOT / "arbd").glob("*/__init__.py")}
    assert {package for package in packages if f"`{package}`" not in text_of(PAGE)} == set()
