"""Each shared word has one writer, and words of different writers share no cache line.

What is checked is the table in ``layout``'s docstring, the constants beside it, and who stores what in the source.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

import arbd
from arbd.ipc import layout

SOURCE = Path(arbd.__path__[0])
_ROW = re.compile(r"^ {4}(\d+) {2,}([A-Z][A-Z_, ]*?) +(supervisor|worker)\b", re.MULTILINE)


def documented() -> dict[str, tuple[int, str]]:
    """Cache line and writer of each word of a cell, as the table says."""
    assert layout.__doc__ is not None
    cell_table = layout.__doc__.partition("One more page")[0]
    return {
        name: (int(line), writer)
        for line, names, writer in _ROW.findall(cell_table)
        for name in names.replace(" ", "").split(",")
    }


def stored_words(node: ast.AST) -> Iterator[str]:
    """Names of ``layout`` constants that index a store: ``words[layout.X] = ...``, or a ring end's own index word."""
    for part in ast.walk(node):
        if isinstance(part, ast.Subscript) and isinstance(part.ctx, ast.Store):
            yield from layout_names(part.slice)
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
            own = {"Producer": "tail_word", "Consumer": "head_word"}.get(part.func.id)
            for keyword in part.keywords:
                if keyword.arg == own:
                    yield from layout_names(keyword.value)


def layout_names(node: ast.AST) -> Iterator[str]:
    while isinstance(node, ast.BinOp):
        node = node.left  # an entry of a table: its beginning plus something
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "layout":
        yield node.attr


def words_stored_by(side: str) -> set[str]:
    cell = ast.parse((SOURCE / "ipc" / "cell.py").read_text())
    own_class = f"{side.capitalize()}Cell"
    nodes: list[ast.AST] = [node for node in cell.body if isinstance(node, ast.ClassDef) and node.name == own_class]
    if side == "worker":
        plate = ast.parse((SOURCE / "ipc" / "plate.py").read_text())
        nodes += [node for node in plate.body if isinstance(node, ast.ClassDef) and node.name == "PlateWriter"]
    nodes += [ast.parse(file.read_text()) for file in (SOURCE / side).rglob("*.py")]
    return {name for node in nodes for name in stored_words(node)} - {"SUPERVISOR_SLEEPING"}  # the board's


def test_the_table_names_every_word_at_its_line() -> None:
    constants = {name: value for name, value in vars(layout).items() if name in documented() and isinstance(value, int)}
    assert constants.keys() == documented().keys()
    assert {name: value // layout.LINE for name, value in constants.items()} == {
        name: line for name, (line, _) in documented().items()
    }
    assert len(documented()) == 21


@pytest.mark.parametrize("side", ["supervisor", "worker"])
def test_each_side_stores_exactly_the_words_that_are_its_own(side: str) -> None:
    assert words_stored_by(side) == {name for name, (_, writer) in documented().items() if writer == side}


def test_no_two_words_have_one_index() -> None:
    indices = [getattr(layout, name) for name in documented()]
    assert len(set(indices)) == len(indices)
    assert max(indices) < layout.PAGE_WORDS


def test_words_of_different_writers_lie_on_different_cache_lines() -> None:
    assert layout.LINE * 8 == 64
    for (_, (line, writer)), (_, (other_line, other)) in combinations(documented().items(), 2):
        assert writer == other or line != other_line


def test_only_the_supervisor_says_that_it_sleeps() -> None:
    storing = [
        file.relative_to(SOURCE).parts[0]
        for file in SOURCE.rglob("*.py")
        if "SUPERVISOR_SLEEPING" in set(stored_words(ast.parse(file.read_text())))
    ]
    assert set(storing) == {"supervisor"}


@pytest.mark.parametrize("slots", [1, 64, 1024])
def test_each_slot_has_a_line_of_the_board_for_its_news(slots: int) -> None:
    lines = [layout.news_at(slot) // layout.LINE for slot in range(slots)]
    assert lines == list(range(1, slots + 1)), "beside the supervisor's, and one each"
    assert layout.board_bytes(slots) == (slots + 1) * layout.LINE * 8


@pytest.mark.parametrize("ring_bytes", [layout.MIN_RING_BYTES, 256 * 1024, 256 * 1024 * 1024])
def test_sizes(ring_bytes: int) -> None:
    assert layout.cell_bytes(ring_bytes) == layout.PAGE_BYTES + 2 * ring_bytes
    assert layout.largest_record(ring_bytes) + layout.RECORD_HEADER == ring_bytes // 4
    assert layout.largest_record(ring_bytes) < layout.WRAP, "a length could be taken for a wrap mark"


def test_records_start_on_words() -> None:
    assert layout.RECORD_HEADER == layout.RECORD_ALIGN == 8
    assert layout.PAGE_BYTES == layout.PAGE_WORDS * 8
