"""A cell: the memory shared by the supervisor and one worker, with control words and two rings.

Not an owner: who makes, maps and closes the memory is ``arbd.host.memory``. A cell is built over any store of bytes of
``cell_bytes(ring_size)``, so tests build it over a ``bytearray``.
"""

from __future__ import annotations

from typing import NamedTuple

from arbd.errors import InvariantError
from arbd.ipc import layout
from arbd.ipc.ring import ByteStore, Consumer, Producer


class Running(NamedTuple):
    """The task that a worker began last. ``seq`` is 0 before its first; ``since_ns`` is 0 when that task is finished
    and its answer only waits for room in the result ring."""

    seq: int
    since_ns: int

    def is_for(self, seq: int) -> bool:
        """Whether this task is running: begun last, and not finished."""
        return self.seq == seq and self.since_ns != 0


class SupervisorCell:
    """The supervisor's side of a cell: pushes tasks, pops results, condemns."""

    __slots__ = ("_words", "results", "tasks")

    def __init__(self, store: ByteStore, words: memoryview, ring_bytes: int) -> None:
        words[layout.MAGIC] = layout.MAGIC_VALUE
        words[layout.VERSION] = layout.LAYOUT_VERSION
        words[layout.RING_SIZE] = ring_bytes
        self._words = words
        task_at, result_at = layout.PAGE_BYTES, layout.PAGE_BYTES + ring_bytes
        self.tasks = Producer(store, words, task_at, ring_bytes, tail_word=layout.TASK_TAIL, head_word=layout.TASK_HEAD)
        self.results = Consumer(
            store, words, result_at, ring_bytes, tail_word=layout.RESULT_TAIL, head_word=layout.RESULT_HEAD
        )

    def worker_sleeps(self) -> bool:
        """Whether the worker must be rung. Load it only after a fence (``arbd.host.fence``)."""
        return bool(self._words[layout.WORKER_SLEEPING])

    def condemn(self, mark: int) -> None:
        """Tell the worker to stop (``layout.STOP``), to leave (``layout.LEAVE``) or to go on (0)."""
        self._words[layout.CONDEMNED] = mark

    def set_log_level(self, number: int) -> None:
        """Have the worker write lines of this level and above; it looks before it sleeps, and now and then."""
        self._words[layout.LOG_LEVEL] = number

    def take_back(self) -> None:
        """Have the worker skip all tasks sent so far that it has not begun. A fence must follow."""
        self._words[layout.TAKEN_BACK] = self.tasks.place

    def cancel(self, seq: int) -> None:
        """Tell the worker that a task is cancelled: its number first, then the count that announces it."""
        words = self._words
        total = int(words[layout.CANCELS])
        words[layout.CANCELLED + total % layout.CANCELLED_WORDS] = seq
        words[layout.CANCELS] = total + 1

    def running(self) -> Running:
        """The task that the worker began last. A worker stores the time first and the number after it, so a time read
        here is never older than its number: a deadline computed from the pair may be late, never early."""
        words = self._words
        return Running(int(words[layout.RUNNING_SEQ]), int(words[layout.RUNNING_SINCE_NS]))

    def places(self) -> tuple[int, int]:
        """Bytes of tasks that the worker has ever taken from its ring, and of answers that it has ever published."""
        return int(self._words[layout.TASK_HEAD]), int(self._words[layout.RESULT_TAIL])

    def tasks_done(self) -> int:
        """Tasks done since the worker started, as it said last: at the latest before it went to sleep."""
        return int(self._words[layout.TASKS_DONE])

    def totals(self) -> tuple[int, int, int]:
        """Tasks done, nanoseconds busy, and nanoseconds of CPU since the worker started."""
        words = self._words
        return int(words[layout.TASKS_DONE]), int(words[layout.BUSY_NS]), int(words[layout.CPU_NS])


class WorkerCell:
    """The worker's side of a cell: pops tasks, pushes results, publishes what it does."""

    __slots__ = ("_cancelled", "_cancels_seen", "results", "tasks", "words")

    def __init__(self, store: ByteStore, words: memoryview) -> None:
        if words[layout.MAGIC] != layout.MAGIC_VALUE or words[layout.VERSION] != layout.LAYOUT_VERSION:
            raise InvariantError("the shared memory is no cell of this version of arbd")
        ring_bytes = int(words[layout.RING_SIZE])
        self.words = words
        self._cancels_seen = 0
        self._cancelled: frozenset[int] = frozenset()
        task_at, result_at = layout.PAGE_BYTES, layout.PAGE_BYTES + ring_bytes
        self.tasks = Consumer(store, words, task_at, ring_bytes, tail_word=layout.TASK_TAIL, head_word=layout.TASK_HEAD)
        self.results = Producer(
            store, words, result_at, ring_bytes, tail_word=layout.RESULT_TAIL, head_word=layout.RESULT_HEAD
        )

    def is_taken_back(self) -> bool:
        """Whether the task popped last was taken back."""
        place = self.words[layout.TAKEN_BACK]
        return place > 0 and self.tasks.place <= place

    def is_cancelled(self, seq: int) -> bool:
        """Whether a task is cancelled. Numbers are never used twice, so old ones in the table do no harm."""
        total = self.words[layout.CANCELS]
        if total != self._cancels_seen:
            table = self.words[layout.CANCELLED : layout.CANCELLED + layout.CANCELLED_WORDS]
            self._cancelled = frozenset(table.tolist())
            self._cancels_seen = total
        return seq in self._cancelled
