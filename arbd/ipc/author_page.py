"""The page of an author's metrics: what one worker counts, for whoever reads it in another process.

One worker writes it, without a lock and without a system call; it may be killed at any instant. When it is gone its
page goes to another worker, which counts on from where it finds it: so no counter ever falls, and nothing is added up
twice or forgotten. Words of the page::

    line  word              writer      meaning
    0     MAGIC, VERSION, LIMIT, TEXT_BYTES   supervisor, once; the limit is in lines of the exposition
    1     OWNER             supervisor  the worker that has it; 0: nobody
    2     RECORDS           worker      records ever begun
          DROPPED           worker      updates that were not counted, because there was no room
          TOLD              worker      1: the log was told that something is not counted
          ATTACHED          worker      the worker whose gauges these are
    4     the directory: of each record its LENGTH, TEXT_AT, VALUES_AT, CREATED_NS (CLOCK_MONOTONIC)
          the values, 64-bit floats; then the texts of the records, in MessagePack

A record is a definition, or a series of one. Its LENGTH is stored last and publishes it; a record that was begun and
never published stays empty, and nothing waits for it. Records are only ever added. A value is one 8-byte store, so
whoever reads it sees it before or after an update, never half of it.

The reader believes nothing: the memory is within reach of the author's code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from arbd.ipc.layout import LINE
from arbd.model.metric import MetricDefinition, problems

MAGIC_VALUE: Final = 0x61726264_6D747263  # "arbdmtrc"
PAGE_VERSION: Final = 1
DEFAULT_LIMIT: Final = 2000

MAGIC: Final = 0
VERSION: Final = 1
LIMIT: Final = 2
TEXT_BYTES: Final = 3
OWNER: Final = 1 * LINE
RECORDS: Final = 2 * LINE
DROPPED: Final = 2 * LINE + 1
TOLD: Final = 2 * LINE + 2
ATTACHED: Final = 2 * LINE + 3
DIRECTORY: Final = 4 * LINE

# A record of the directory.
RECORD_WORDS: Final = 4
LENGTH: Final = 0
TEXT_AT: Final = 1
VALUES_AT: Final = 2
CREATED_NS: Final = 3

MOST_RECORD: Final = 16 * 1024  # bytes of one text: a definition with many labels and a long documentation fits
_TEXT_OF_A_LINE: Final = 256  # bytes, on the average


class SeriesRecord(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """A series: the number of its definition's record, and the values of its labels."""

    definition: int
    labelvalues: tuple[str, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(MetricDefinition | SeriesRecord).decode


def _records_max(limit: int) -> int:
    return 2 * limit  # as many series and as many definitions as there may be lines


def _values_max(limit: int) -> int:
    return 2 * limit  # no series has more than two for each of its lines


def text_bytes(limit: int) -> int:
    """The bytes that a page has for texts."""
    return (limit * _TEXT_OF_A_LINE + (4 * MOST_RECORD if limit else 0)) // 8 * 8


def page_bytes(limit: int) -> int:
    """The size in bytes of a page for so many lines."""
    return (DIRECTORY + _records_max(limit) * RECORD_WORDS + _values_max(limit)) * 8 + text_bytes(limit)


def begin(words: memoryview, limit: int) -> None:
    """Make new memory of ``page_bytes(limit)`` zero bytes a page."""
    words[LIMIT], words[TEXT_BYTES], words[VERSION] = limit, text_bytes(limit), PAGE_VERSION
    words[MAGIC] = MAGIC_VALUE


class _Parts:
    """The parts of a page, as far as its memory has them."""

    def __init__(self, words: memoryview) -> None:
        limit = words[LIMIT]
        if words[MAGIC] != MAGIC_VALUE or words[VERSION] != PAGE_VERSION or page_bytes(limit) > words.nbytes:
            raise ValueError("this memory is no page of an author's metrics")
        self.limit: int = limit
        self.most_records = _records_max(limit)
        self.most_values = _values_max(limit)
        values_at = DIRECTORY + self.most_records * RECORD_WORDS
        text_at = values_at + self.most_values
        self.values: memoryview[float] = words[values_at:text_at].cast("B").cast("d")
        self.text = words[text_at : text_at + text_bytes(limit) // 8].cast("B")


class Found(NamedTuple):
    """What one record says: a definition, or with ``labelvalues`` a series of it, whose values begin ``at``."""

    number: int
    created_ns: int
    definition: MetricDefinition
    labelvalues: tuple[str, ...] | None
    at: int


class AuthorPageReader:
    """The reading side, in any process. Raises ``ValueError`` if the memory is no page."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._parts = _Parts(words)
        self._next = 0
        self._begun: list[int] = []  # records that were not published when they were looked at
        self._definitions: dict[int, MetricDefinition] = {}
        self._used = 0  # values of the records that were read
        self.text_used = 0  # bytes

    @property
    def limit(self) -> int:
        """How many lines it has room for."""
        return self._parts.limit

    @property
    def is_live(self) -> bool:
        """Whether its gauges are those of a worker that is there."""
        owner: int = self._words[OWNER]
        return owner != 0 and self._words[ATTACHED] == owner

    @property
    def dropped(self) -> int:
        """How many updates were not counted."""
        return int(self._words[DROPPED])

    @property
    def is_full(self) -> bool:
        """Whether there was something that was not counted, or would not be."""
        return self._words[TOLD] != 0

    def news(self) -> list[Found]:
        """The records that were published since this was called last; what makes no sense is left out."""
        numbers = [*self._begun, *range(self._next, min(self._words[RECORDS], self._parts.most_records))]
        self._next = max(self._next, min(self._words[RECORDS], self._parts.most_records))
        self._begun = []
        return [found for number in numbers if (found := self._read(number)) is not None]

    def _read(self, number: int) -> Found | None:
        at = DIRECTORY + number * RECORD_WORDS
        length, text_at, values_at, created_ns = self._words[at : at + RECORD_WORDS]
        if length == 0:
            self._begun.append(number)
            return None
        if length > MOST_RECORD or text_at + length > len(self._parts.text):
            return None
        try:
            record = _decode(self._parts.text[text_at : text_at + length])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        self.text_used = max(self.text_used, text_at + length)
        if isinstance(record, MetricDefinition):
            if any(problems(record)):
                return None
            self._definitions[number] = record
            return Found(number, created_ns, record, None, 0)
        return self._series(number, created_ns, record, values_at)

    def _series(self, number: int, created_ns: int, record: SeriesRecord, at: int) -> Found | None:
        definition = self._definitions.get(record.definition)
        if definition is None or len(record.labelvalues) != len(definition.labelnames):
            return None
        if at + definition.cells > self._parts.most_values:
            return None
        self._used = max(self._used, at + definition.cells)
        return Found(number, created_ns, definition, record.labelvalues, at)

    def values(self) -> Sequence[float]:
        """The values of all records that were read; each is read in one piece."""
        return self._parts.values[: self._used].tolist()

    @property
    def values_used(self) -> int:
        """How many there are."""
        return self._used


class AuthorPageWriter:
    """The writing side: counts on in a page from where it stands. Raises ``ValueError`` if the memory is no page.

    Not by two threads at once, but an interrupt may come in the middle of a call and make another.
    """

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._parts = _Parts(words)
        self._definitions: dict[str, tuple[int, MetricDefinition]] = {}  # the last of each name
        self._series: dict[tuple[tuple[object, ...], tuple[str, ...]], int] = {}
        self._lines = 0
        reader = AuthorPageReader(words)
        for found in reader.news():
            if found.labelvalues is None:
                self._definitions[found.definition.name] = (found.number, found.definition)
                continue
            self._lines += found.definition.lines
            self._series.setdefault((found.definition.identity, found.labelvalues), found.at)
            if found.definition.kind == "gauge":
                self._zero(found.at, found.definition.cells)  # it was another worker's
        self._next_record = min(words[RECORDS], self._parts.most_records)
        self._next_value, self._next_text = reader.values_used, reader.text_used

    @property
    def limit(self) -> int:
        """How many lines there may be."""
        return self._parts.limit

    def attach(self, worker_id: int) -> None:
        """Say whose gauges these are from now on."""
        self._words[ATTACHED] = worker_id

    def define(self, definition: MetricDefinition, now_ns: int) -> bool:
        """Publish a definition, unless it is the last one of that name; ``False``: there is no room."""
        known = self._definitions.get(definition.name)
        if known is not None and known[1] == definition:
            return True
        number = self._add(_encode(definition), 0, now_ns)
        if number < 0:
            return False
        self._definitions[definition.name] = (number, definition)
        return True

    def series(
        self, definition: MetricDefinition, labelvalues: tuple[str, ...], now_ns: int
    ) -> memoryview[float] | None:
        """The values of a series of a definition that was published, those that there are if there are any; ``None``:
        there is no room for it."""
        key = (definition.identity, labelvalues)
        at = self._series.get(key)
        if at is None:
            at = self._new_series(definition, labelvalues, now_ns)
            if at < 0:
                return None
            self._series[key] = at
        return self._parts.values[at : at + definition.cells]

    def _new_series(self, definition: MetricDefinition, labelvalues: tuple[str, ...], now_ns: int) -> int:
        known = self._definitions.get(definition.name)
        if known is None or self._lines + definition.lines > self._parts.limit:
            return -1
        at = self._next_value
        if at + definition.cells > self._parts.most_values:
            return -1
        text = _encode(SeriesRecord(known[0], labelvalues))
        self._next_value = at + definition.cells
        self._zero(at, definition.cells)  # a worker may have been killed between a value and its record
        if self._add(text, at, now_ns) < 0:
            return -1
        self._lines += definition.lines
        return at

    def _add(self, text: bytes, values_at: int, now_ns: int) -> int:
        """Publish a record; its number, or -1: there is no room."""
        number, text_at = self._next_record, self._next_text
        if len(text) > MOST_RECORD or number >= self._parts.most_records or text_at + len(text) > len(self._parts.text):
            return -1
        self._next_record, self._next_text = number + 1, text_at + len(text)
        words = self._words
        words[RECORDS] = self._next_record
        self._parts.text[text_at : text_at + len(text)] = text
        at = DIRECTORY + number * RECORD_WORDS
        words[at + TEXT_AT], words[at + VALUES_AT], words[at + CREATED_NS] = text_at, values_at, now_ns
        words[at + LENGTH] = len(text)
        return number

    def _zero(self, at: int, cells: int) -> None:
        for cell in range(at, at + cells):
            self._parts.values[cell] = 0.0

    def drop(self) -> None:
        """Count an update that is not counted."""
        self._words[DROPPED] += 1

    def tell(self) -> bool:
        """Note that the log is told of what is not counted; ``False``: it has been."""
        if self._words[TOLD]:
            return False
        self._words[TOLD] = 1
        return True


def take(words: memoryview, worker_id: int) -> None:
    """Give a page to a worker."""
    words[OWNER] = worker_id


def give_back(words: memoryview) -> None:
    """Take a page from a worker that has ended."""
    words[OWNER] = 0
