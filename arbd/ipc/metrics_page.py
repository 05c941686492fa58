"""The metrics page: the counters of a daemon in one shared memory, which the supervisor writes and ``arbd:http`` reads.

    0            the head: magic, version, and two *seqlocks*: of rows and slots, and of the snapshot
    4096         slots: for each slot of a worker a line of eight counters; they go on when its worker is replaced
    + 64 KiB     rows: for each action a page of 4096 bytes; row 0 is shared by all that have none of their own
    + rows       the snapshot: one JSON document (``arbd.control.snapshot``), written about once a second

A row, in 64-bit words; each counter only ever grows::

    0         NAME_LENGTH      bytes of the action's name; the name is behind it, cut to ``NAME_BYTES``
    64        sums             RUN_NS, WAIT_NS, DECIDED_NS, CPU_NS, KILLS, WORKERS_ENDED
    80        FAILURES         by reason (``arbd.model.reasons``)
    128       RUN              how long tasks ran: a bucket for each power of two of nanoseconds
    192       WAIT             how long those tasks waited, for a worker and for their result to be taken
    256       END_TO_END       from arrival to verdict, for each status one after the other: success, error, limit

A bucket holds the values of so many bits: bucket ``n`` counts those below 2^n and not below 2^(n-1) nanoseconds, so
that to count costs one ``bit_length`` and no search.

Sums over all tasks are sums of words that only grow: end to end is RUN_NS + WAIT_NS + DECIDED_NS. None is a difference
of two words, which a reader between two stores would see fall.

All is written about once a second (``arbd.core.metrics`` counts in lists of its own: to add to a word through a
``memoryview`` takes 100 ns, to an item of a list 30, and there are five for each task). A seqlock: its number is odd
while what it guards is written. A reader looks at it before and after, and reads again if it was odd or has changed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from arbd.errors import InvariantError
from arbd.ipc import layout
from arbd.model.task import STATUSES

METRICS_MAGIC: Final = 0x61726264_6D657472  # "arbdmetr"
METRICS_VERSION: Final = 1

# The head.
_MAGIC: Final = 0
_VERSION: Final = 1
_ROWS: Final = 2
_SNAPSHOT_BYTES: Final = 3
_ROWS_SEQ: Final = 1 * layout.LINE
_ROWS_USED: Final = 1 * layout.LINE + 1
_SNAPSHOT_SEQ: Final = 2 * layout.LINE
_SNAPSHOT_LENGTH: Final = 2 * layout.LINE + 1
_SNAPSHOT_AT_NS: Final = 2 * layout.LINE + 2

# A slot.
SLOT_TASKS: Final = 0
SLOT_BUSY_NS: Final = 1
SLOT_CPU_NS: Final = 2
SLOT_STARTS: Final = 3
SLOT_WORDS: Final = layout.LINE
_SLOTS_AT: Final = layout.PAGE_WORDS

# A row.
ROW_WORDS: Final = layout.PAGE_WORDS
NAME_LENGTH: Final = 0
NAME_BYTES: Final = 63 * 8
RUN_NS: Final = 64
WAIT_NS: Final = 65
DECIDED_NS: Final = 66
CPU_NS: Final = 67
KILLS: Final = 68
WORKERS_ENDED: Final = 69
FAILURES: Final = 80
REASON_WORDS: Final = 24
BUCKETS: Final = 64
RUN: Final = 128
WAIT: Final = 192
END_TO_END: Final = 256
COUNTERS_FROM: Final = RUN_NS
COUNTERS_TO: Final = END_TO_END + len(STATUSES) * BUCKETS
ROWS_AT: Final = _SLOTS_AT + layout.MAX_SLOTS * SLOT_WORDS

OF_STATUS: Final = {str(status): END_TO_END + number * BUCKETS for number, status in enumerate(STATUSES)}
"""Where the buckets of each status begin."""

_TRIES: Final = 4  # the supervisor writes for a millisecond each second; one that was stopped in it stays there


def page_bytes(rows: int, snapshot_bytes: int) -> int:
    """The size in bytes of a page with this many rows, row 0 included."""
    return (ROWS_AT + rows * ROW_WORDS) * 8 + snapshot_bytes


class SnapshotTooLongError(ValueError):
    """A snapshot that does not fit the page."""


class MetricsWriter:
    """The supervisor's side of a metrics page."""

    __slots__ = ("_bytes", "_snapshot_at", "_snapshot_bytes", "rows", "words")

    def __init__(self, words: memoryview, rows: int) -> None:
        self.words = words
        self.rows = rows
        self._bytes = words.cast("B")
        self._snapshot_at = (ROWS_AT + rows * ROW_WORDS) * 8
        self._snapshot_bytes = len(self._bytes) - self._snapshot_at
        if self._snapshot_bytes < 0:
            raise InvariantError(f"a metrics page of {len(self._bytes)} bytes has no room for {rows} rows")
        words[_MAGIC] = METRICS_MAGIC
        words[_VERSION] = METRICS_VERSION
        words[_ROWS] = rows
        words[_SNAPSHOT_BYTES] = self._snapshot_bytes
        words[_ROWS_USED] = 1

    def begin_rows(self) -> None:
        """Rows and slots are about to be written."""
        self.words[_ROWS_SEQ] += 1

    def end_rows(self, used: int) -> None:
        """They are as they should be; ``used``: how many rows there are by now."""
        self.words[_ROWS_USED] = used
        self.words[_ROWS_SEQ] += 1

    def name_row(self, row: int, name: str) -> None:
        """Set the name of a row; between ``begin_rows`` and ``end_rows``."""
        at = row_at(row)
        text = cut_name(name)
        first = (at + 1) * 8
        self._bytes[first : first + len(text)] = text
        self.words[at + NAME_LENGTH] = len(text)

    def write_row(self, row: int, counters: bytes) -> None:
        """Set the counters of a row, as many words as there are from ``COUNTERS_FROM``; between the same two."""
        at = (row_at(row) + COUNTERS_FROM) * 8
        self._bytes[at : at + len(counters)] = counters

    def write_slot(self, slot: int, counters: bytes) -> None:
        """Set the counters of a slot; between the same two."""
        at = slot_at(slot) * 8
        self._bytes[at : at + len(counters)] = counters

    def write_snapshot(self, document: bytes, at_ns: int) -> None:
        """Publish a snapshot of the moment ``at_ns`` (CLOCK_MONOTONIC). Raises ``SnapshotTooLongError``; then the last
        one stays."""
        if len(document) > self._snapshot_bytes:
            raise SnapshotTooLongError(f"{len(document)} bytes, and the page has room for {self._snapshot_bytes}")
        words = self.words
        words[_SNAPSHOT_SEQ] += 1
        self._bytes[self._snapshot_at : self._snapshot_at + len(document)] = document
        words[_SNAPSHOT_LENGTH] = len(document)
        words[_SNAPSHOT_AT_NS] = at_ns
        words[_SNAPSHOT_SEQ] += 1


class Row(NamedTuple):
    """The counters of one action, as they were read. ``name`` is empty for row 0; ``words``: the row from its first
    word on."""

    name: str
    words: list[int]

    def buckets(self, at: int) -> list[int]:
        """The buckets that begin there."""
        return self.words[at : at + BUCKETS]

    def count(self, status: str) -> int:
        """How many tasks ended with this status."""
        return sum(self.buckets(OF_STATUS[status]))


class MetricsReader:
    """The reading side of a metrics page, over bytes that are mapped read-only."""

    def __init__(self, words: memoryview) -> None:
        if words[_MAGIC] != METRICS_MAGIC or words[_VERSION] != METRICS_VERSION:
            raise InvariantError("the shared memory is no metrics page of this version of arbd")
        self._words = words
        self._bytes = words.cast("B")
        self._rows = int(words[_ROWS])
        self._snapshot_at = (ROWS_AT + self._rows * ROW_WORDS) * 8

    @property
    def snapshot_at_ns(self) -> int:
        """When the last snapshot was written (CLOCK_MONOTONIC); 0: none was yet."""
        return int(self._words[_SNAPSHOT_AT_NS])

    @property
    def used(self) -> int:
        """How many rows there are, row 0 included."""
        return max(1, min(int(self._words[_ROWS_USED]), self._rows))

    def read_rows(self) -> list[Row]:
        """All rows, as they were at one moment. Where the supervisor was stopped while it wrote, what there is."""
        rows: list[Row] = []
        for _ in range(_TRIES):
            seq = self._words[_ROWS_SEQ]
            rows = [self._row(number) for number in range(self.used)]
            if seq % 2 == 0 and self._words[_ROWS_SEQ] == seq:
                break
        return rows

    def _row(self, number: int) -> Row:
        at = row_at(number)
        words = self._words[at : at + ROW_WORDS].tolist()
        length = min(words[NAME_LENGTH], NAME_BYTES)
        name = bytes(self._bytes[(at + 1) * 8 : (at + 1) * 8 + length]).decode("utf-8", "replace") if number else ""
        return Row(name, words)

    def slot(self, number: int) -> list[int]:
        """The counters of one slot."""
        if not 0 <= number < layout.MAX_SLOTS:
            return [0] * SLOT_WORDS
        at = slot_at(number)
        return self._words[at : at + SLOT_WORDS].tolist()

    def snapshot(self) -> bytes | None:
        """The last snapshot; ``None``: there is none that can be read, because none was written, or the supervisor was
        stopped while it wrote."""
        words = self._words
        for _ in range(_TRIES):
            seq = words[_SNAPSHOT_SEQ]
            length = min(words[_SNAPSHOT_LENGTH], len(self._bytes) - self._snapshot_at)
            document = bytes(self._bytes[self._snapshot_at : self._snapshot_at + length])
            if seq % 2 == 0 and words[_SNAPSHOT_SEQ] == seq:
                return document or None
        return None


def row_at(number: int) -> int:
    """The index of a row among the words of the page."""
    return ROWS_AT + number * ROW_WORDS


def slot_at(number: int) -> int:
    """The index of a slot among the words of the page."""
    return _SLOTS_AT + number * SLOT_WORDS


def cut_name(name: str) -> bytes:
    """A name as it stands in a row: whole characters, at most ``NAME_BYTES`` bytes."""
    text = name.encode("utf-8", "replace")[:NAME_BYTES]
    return text.decode("utf-8", "ignore").encode()
