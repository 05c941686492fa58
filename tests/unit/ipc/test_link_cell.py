"""Both sides of a link's memory see the same rings and words, neither writes into the other's part, and whoever has
published something rings a side that may be asleep, and no other."""

from __future__ import annotations

import ast
import mmap
import re
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import arbd
from arbd.errors import InvariantError
from arbd.ipc import layout
from arbd.ipc.cell import SupervisorCell
from arbd.ipc.link_cell import NEVER, LinkEnd, SupervisorEnd

RING = layout.MIN_RING_BYTES
UP_RING = slice(layout.PAGE_BYTES, layout.PAGE_BYTES + RING)
DOWN_RING = slice(layout.PAGE_BYTES + RING, layout.PAGE_BYTES + 2 * RING)
_ROW = re.compile(r"^ {4,10}(?:(\d+) +)?([A-Z][A-Z_, ]*?)(?: +|: )(supervisor|link)\b", re.MULTILINE)


class Cell:
    """The memory of one link in this process, with both of its sides."""

    def __init__(self) -> None:
        self.store = mmap.mmap(-1, layout.cell_bytes(RING))
        self.words = memoryview(self.store).cast("Q")
        self.supervisor = SupervisorEnd(self.store, self.words, RING)
        self.link = LinkEnd(self.store, self.words)


def table() -> dict[str, tuple[int, str]]:
    """Cache line and writer of each word of a link's memory, as the docstring of ``layout`` says."""
    assert layout.__doc__ is not None
    text = layout.__doc__.partition("Each link process")[2].partition("The design leans")[0]
    found: dict[str, tuple[int, str]] = {}
    line = 0
    for number, names, writer in _ROW.findall(text):
        line = int(number or line)
        found |= dict.fromkeys(names.replace(" ", "").split(","), (line, writer))
    return found


def stored_by(class_name: str) -> set[str]:
    """Names of ``layout`` constants that a class of ``link_cell`` stores at, or has its end of a ring store at."""
    source = ast.parse((Path(arbd.__path__[0]) / "ipc" / "link_cell.py").read_text())
    [side] = [node for node in source.body if isinstance(node, ast.ClassDef) and node.name == class_name]
    places = [part.slice for part in ast.walk(side) if isinstance(part, ast.Subscript) and is_store(part)]
    for part in ast.walk(side):
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
            own = {"Producer": "tail_word", "Consumer": "head_word"}.get(part.func.id)
            places += [keyword.value for keyword in part.keywords if keyword.arg == own]
    return {match for place in places for match in re.findall(r"layout\.(\w+)", ast.unparse(place))}


def is_store(part: ast.Subscript) -> bool:
    return isinstance(part.ctx, ast.Store)


@pytest.mark.parametrize(("class_name", "writer"), [("SupervisorEnd", "supervisor"), ("LinkEnd", "link")])
def test_a_side_stores_its_own_words_and_all_of_them(class_name: str, writer: str) -> None:
    assert stored_by(class_name) == {name for name, (_, who) in table().items() if who == writer}


def test_words_of_different_writers_lie_on_different_cache_lines() -> None:
    words = table()
    assert len(words) == 18
    for (_, (line, writer)), (_, (other_line, other)) in combinations(words.items(), 2):
        assert writer == other or line != other_line
    for name, (line, _) in words.items():
        assert getattr(layout, name) // layout.LINE == line
    assert layout.COUNTERS + layout.COUNTER_WORDS <= layout.PAGE_WORDS


def test_records_go_up_and_down() -> None:
    cell = Cell()
    assert cell.link.up.push(b"task")
    assert cell.supervisor.down.push(b"result")
    assert cell.supervisor.up.pop() == b"task"
    assert cell.link.down.pop() == b"result"
    assert (cell.supervisor.up.pop(), cell.link.down.pop()) == (None, None)


@given(sizes=st.lists(st.integers(0, layout.largest_record(RING)), min_size=1, max_size=10))
def test_full_rings_do_not_touch_each_other(sizes: list[int]) -> None:
    cell = Cell()
    up = [data for size in sizes if cell.link.up.push(data := b"u" * size)]
    down = [data for size in reversed(sizes) if cell.supervisor.down.push(data := b"d" * size)]
    assert b"dddd" not in cell.store[UP_RING]
    assert b"uuuu" not in cell.store[DOWN_RING]
    assert cell.supervisor.up.pop_many(100) == up
    assert cell.link.down.pop_many(100) == down


def test_a_link_begins_with_nothing_allowed_and_nothing_reported() -> None:
    cell = Cell()
    link = cell.link
    assert (link.allowed, link.is_held, link.stop_number, link.is_flushing) == (0, False, 0, False)
    assert cell.supervisor.figures() == (0, [0] * layout.COUNTER_WORDS)
    assert cell.supervisor.token_calls() == (0, 0)
    assert cell.supervisor.sleeps() == 0


def test_each_side_reads_what_the_other_says() -> None:
    cell = Cell()
    cell.supervisor.allow(7)
    cell.supervisor.hold(True)
    cell.supervisor.stop(3)
    cell.supervisor.flush()
    link = cell.link
    assert (link.allowed, link.is_held, link.stop_number, link.is_flushing) == (7, True, 3, True)
    assert cell.supervisor.is_held
    link.report(2, [5, 6])
    link.report_token(1, 3)
    assert cell.supervisor.figures() == (2, [5, 6] + [0] * (layout.COUNTER_WORDS - 2))
    assert cell.supervisor.token_calls() == (1, 3)
    cell.supervisor.hold(False)
    assert not link.is_held


def test_a_supervisor_is_rung_once_for_each_sleep() -> None:
    cell = Cell()  # a supervisor that has made a cell has nothing of it to look at: it counts as asleep
    assert [cell.link.must_ring(), cell.link.must_ring()] == [True, False]
    cell.supervisor.sleep()
    assert [cell.link.must_ring(), cell.link.must_ring()] == [True, False]


def test_a_link_is_rung_once_for_each_sleep_and_not_before_its_first() -> None:
    cell = Cell()
    assert not cell.supervisor.must_ring(True)  # it is starting, and will look
    cell.link.sleep()
    assert cell.supervisor.sleeps() == 1
    assert [cell.supervisor.must_ring(True), cell.supervisor.must_ring(True)] == [True, False]
    assert cell.supervisor.is_awake()
    cell.link.sleep()
    assert not cell.supervisor.is_awake()
    assert cell.supervisor.must_ring(True)


def test_a_link_is_rung_for_more_slots_only_where_it_asked_for_that() -> None:
    cell = Cell()
    cell.link.sleep()
    cell.link.ring_above(NEVER)
    cell.supervisor.allow(100)
    assert not cell.supervisor.must_ring(False)
    cell.link.ring_above(100)
    assert not cell.supervisor.must_ring(False)
    cell.supervisor.allow(101)
    assert cell.supervisor.must_ring(False)


Step = st.sampled_from(["publish", "look"])


@given(st.lists(Step, max_size=60))
def test_nothing_published_stays_unseen(steps: list[str]) -> None:
    """Whatever the order of whole steps: after the last one, either everything was seen, or a ring is due."""
    cell = Cell()
    rung = False
    for step in steps:
        if step == "publish":
            assert cell.link.up.push(b"x")
            rung = cell.link.must_ring() or rung
        elif rung:
            rung = False
            cell.supervisor.up.pop_many(1000)
            cell.supervisor.sleep()
        assert rung or cell.supervisor.up.is_empty()


def test_other_memory_is_refused() -> None:
    store = mmap.mmap(-1, layout.cell_bytes(RING))
    words = memoryview(store).cast("Q")
    with pytest.raises(InvariantError):
        LinkEnd(store, words)
    SupervisorCell(store, words, RING)
    with pytest.raises(InvariantError, match="no link cell"):
        LinkEnd(store, words)
