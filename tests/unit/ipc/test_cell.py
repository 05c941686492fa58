"""Both sides of a cell see the same rings and words, and neither writes into the other's part."""

from __future__ import annotations

import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.errors import InvariantError
from arbd.ipc import layout
from arbd.ipc.cell import Running, SupervisorCell, WorkerCell

RING = layout.MIN_RING_BYTES
TASK_RING = slice(layout.PAGE_BYTES, layout.PAGE_BYTES + RING)
RESULT_RING = slice(layout.PAGE_BYTES + RING, layout.PAGE_BYTES + 2 * RING)


class Cell:
    """One cell in the memory of this process, with both of its sides."""

    def __init__(self) -> None:
        self.store = mmap.mmap(-1, layout.cell_bytes(RING))
        self.words = memoryview(self.store).cast("Q")
        self.supervisor = SupervisorCell(self.store, self.words, RING)
        self.worker = WorkerCell(self.store, self.words)


def test_tasks_go_one_way_and_results_the_other() -> None:
    cell = Cell()
    assert cell.supervisor.tasks.push(b"task")
    assert cell.worker.results.push(b"result")
    assert cell.worker.tasks.pop() == b"task"
    assert cell.supervisor.results.pop() == b"result"
    assert (cell.worker.tasks.pop(), cell.supervisor.results.pop()) == (None, None)


@given(sizes=st.lists(st.integers(0, layout.largest_record(RING)), min_size=1, max_size=10))
def test_full_rings_do_not_touch_each_other(sizes: list[int]) -> None:
    cell = Cell()
    tasks = [data for size in sizes if cell.supervisor.tasks.push(data := b"t" * size)]
    results = [data for size in reversed(sizes) if cell.worker.results.push(data := b"r" * size)]
    assert b"rrrr" not in cell.store[TASK_RING]
    assert b"tttt" not in cell.store[RESULT_RING]
    assert cell.worker.tasks.pop_many(100) == tasks
    assert cell.supervisor.results.pop_many(100) == results


def test_a_worker_begins_with_nothing() -> None:
    supervisor = Cell().supervisor
    assert supervisor.running() == Running(seq=0, since_ns=0)
    assert supervisor.totals() == (0, 0, 0)
    assert supervisor.worker_sleeps() is False


def test_the_supervisor_reads_what_the_worker_says() -> None:
    cell = Cell()
    words = cell.worker.words
    words[layout.RUNNING_SINCE_NS], words[layout.RUNNING_SEQ] = 123, 7
    words[layout.TASKS_DONE], words[layout.BUSY_NS], words[layout.CPU_NS] = 1, 2, 3
    words[layout.WORKER_SLEEPING] = 1
    assert cell.supervisor.running() == Running(seq=7, since_ns=123)
    assert cell.supervisor.totals() == (1, 2, 3)
    assert cell.supervisor.worker_sleeps() is True


def test_a_time_is_never_older_than_its_number() -> None:
    """Between the two loads a worker may begin another task: then the time is newer, so a deadline late, not early."""
    cell = Cell()
    cell.words[layout.RUNNING_SINCE_NS], cell.words[layout.RUNNING_SEQ] = 100, 1

    class BeginsAnother:
        """The words, where the worker begins task 2 right after the supervisor has loaded the first of the two."""

        loads = 0

        def __getitem__(self, word: int) -> int:
            value = int(cell.words[word])
            self.loads += 1
            if self.loads == 1:
                cell.words[layout.RUNNING_SINCE_NS], cell.words[layout.RUNNING_SEQ] = 200, 2
            return value

    cell.supervisor._words = BeginsAnother()  # type: ignore[assignment] # a stand-in for the memory
    assert cell.supervisor.running() == Running(seq=1, since_ns=200)


@pytest.mark.parametrize("mark", [layout.STOP, layout.LEAVE, 0])
def test_a_mark_reaches_the_worker(mark: int) -> None:
    cell = Cell()
    cell.supervisor.condemn(layout.STOP)
    cell.supervisor.condemn(mark)
    assert cell.worker.words[layout.CONDEMNED] == mark


@pytest.mark.parametrize("word", [layout.MAGIC, layout.VERSION])
def test_a_memory_of_something_else_is_refused(word: int) -> None:
    cell = Cell()
    cell.words[word] += 1
    with pytest.raises(InvariantError, match="the shared memory is no cell of this version of arbd"):
        WorkerCell(cell.store, cell.words)


def test_a_size_that_is_no_ring_s_is_refused_on_both_sides() -> None:
    cell = Cell()
    with pytest.raises(InvariantError, match="power of two"):
        SupervisorCell(cell.store, cell.words, RING - 8)
    with pytest.raises(InvariantError, match="power of two"):
        WorkerCell(cell.store, cell.words)


def test_a_worker_sees_which_of_its_tasks_were_cancelled() -> None:
    cell = Cell()
    assert not cell.worker.is_cancelled(7)
    cell.supervisor.cancel(7)
    cell.supervisor.cancel(9)
    assert [seq for seq in range(1, 12) if cell.worker.is_cancelled(seq)] == [7, 9]


def test_the_last_cancelled_tasks_are_remembered_and_no_more() -> None:
    cell = Cell()
    for seq in range(1, layout.CANCELLED_WORDS + 2):
        cell.supervisor.cancel(seq)
    cancelled = [seq for seq in range(1, layout.CANCELLED_WORDS + 3) if cell.worker.is_cancelled(seq)]
    assert cancelled == list(range(2, layout.CANCELLED_WORDS + 2))
