"""A lock-free queue of byte records between one producer and one consumer, over shared memory.

Not a wake-up: sleeping and ringing is ``arbd.host.doorbell``.

    data     | len | record ..... | len | record ... | WRAP |  (unused)  |
              ^head (consumer's word)       ^tail (producer's word)

``head`` and ``tail`` count bytes ever popped and pushed; they only grow, so full and empty are never confused
and a position is ``index & (size - 1)``. Invariants:

* the producer alone writes ``data`` and ``tail``; the consumer alone writes ``head``;
* a record is in place before the ``tail`` that covers it; a record is read before the ``head`` that frees it;
* a record never wraps: a ``WRAP`` mark sends the reader to the start, so one slice copies it;
* the reader checks everything: an impossible length or index is a ``RingCorruptError``, because the other side
  may have died in the middle of anything, or write nonsense. A producer killed at any instant leaves only whole
  records below ``tail``.

``data`` is anything that takes and gives slices of bytes (an ``mmap``; a ``bytearray`` in tests): slicing an mmap
costs 35 ns for 200 bytes where a ``memoryview`` costs 90.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from arbd.errors import ArbdError, InvariantError
from arbd.ipc.layout import MIN_RING_BYTES, RECORD_ALIGN, RECORD_HEADER, WRAP, largest_record


class RingCorruptError(ArbdError):
    """The other side of a ring wrote impossible values; nothing more can be read from it."""


class Pushed(enum.Enum):
    """What became of a record that was to be pushed."""

    DONE = "done"
    FULL = "full"  # no room in the ring: its reader makes some
    LATER = "later"  # its body could not be sent now: nobody tells when it can


class ByteStore(Protocol):
    """Shared bytes that are written and read by slice."""

    def __getitem__(self, where: slice, /) -> bytes: ...
    def __setitem__(self, where: slice, value: bytes, /) -> None: ...


def check_ring_size(size: int) -> None:
    """Check that a size in bytes is a power of two and not too small. Raises ``InvariantError``."""
    if size < MIN_RING_BYTES or size & (size - 1):
        raise InvariantError(f"ring size must be a power of two of at least {MIN_RING_BYTES}, not {size}")


class _End:
    """The common part of both sides: where the ring lies, in bytes, and the indices of its control words. ``words`` are
    all of the shared memory as 64-bit words; lengths of records are stored through them."""

    __slots__ = ("_base", "_head_word", "_lengths", "_size", "_store", "_tail_word", "_words")

    def __init__(
        self, store: ByteStore, words: memoryview, base: int, size: int, *, tail_word: int, head_word: int
    ) -> None:
        check_ring_size(size)
        self._store = store
        self._words = words
        self._base = base
        self._size = size
        self._lengths = words[base // 8 : (base + size) // 8]
        self._tail_word = tail_word
        self._head_word = head_word


class Producer(_End):
    """The pushing side of a ring."""

    __slots__ = ("_limit", "_tail")

    def __init__(
        self, store: ByteStore, words: memoryview, base: int, size: int, *, tail_word: int, head_word: int
    ) -> None:
        super().__init__(store, words, base, size, tail_word=tail_word, head_word=head_word)
        self._tail = int(words[tail_word])
        self._limit = int(words[head_word]) + size

    def push(self, record: bytes) -> bool:
        """Append a record; ``False`` if there is no room for it now. Raises ``ValueError`` instead of ``False`` for a
        record longer than ``layout.largest_record``, which may never fit, and ``RingCorruptError``."""
        length = len(record)
        need = (length + RECORD_HEADER + RECORD_ALIGN - 1) & -RECORD_ALIGN
        tail = self._tail
        size = self._size
        at = tail & (size - 1)
        skip = size - at if at + need > size else 0
        if tail + skip + need > self._limit and not self._room_for(skip + need, length):
            return False
        if skip:
            self._lengths[at >> 3] = WRAP
            tail += skip
            at = 0
        self._lengths[at >> 3] = length
        start = self._base + at + RECORD_HEADER
        self._store[start : start + length] = record
        self._tail = tail = tail + need
        self._words[self._tail_word] = tail
        return True

    def push_after(self, record: bytes, send_body: Callable[[], bool]) -> Pushed:
        """Append a record whose body goes another way, and before it. ``send_body`` says whether it could be sent, and
        is asked only where there is room for the record: a body without one would be taken for that of the next. Raises
        what it raises, ``ValueError`` and ``RingCorruptError``."""
        if not self.has_room(len(record)):
            return Pushed.FULL
        if not send_body():
            return Pushed.LATER
        try:
            self.push(record)
        except Exception as exc:
            raise RingCorruptError(f"a record did not follow its body: {type(exc).__name__}: {exc}") from exc
        return Pushed.DONE

    @property
    def place(self) -> int:
        """The number of bytes ever pushed: where the last record ends."""
        return self._tail

    def has_room(self, length: int) -> bool:
        """Whether a record of that length could be pushed now."""
        need = (length + RECORD_HEADER + RECORD_ALIGN - 1) & -RECORD_ALIGN
        at = self._tail & (self._size - 1)
        skip = self._size - at if at + need > self._size else 0
        return self._room_for(skip + need, length)

    def _room_for(self, need: int, length: int) -> bool:
        if length > largest_record(self._size):
            raise ValueError(f"a record of {length} bytes never fits a ring of {self._size}")
        head = int(self._words[self._head_word])
        if not 0 <= self._tail - head <= self._size:
            raise RingCorruptError(f"ring head {head} is not behind tail {self._tail} within {self._size} bytes")
        self._limit = head + self._size
        return self._tail + need <= self._limit


class Consumer(_End):
    """The popping side of a ring."""

    __slots__ = ("_head",)

    def __init__(
        self, store: ByteStore, words: memoryview, base: int, size: int, *, tail_word: int, head_word: int
    ) -> None:
        super().__init__(store, words, base, size, tail_word=tail_word, head_word=head_word)
        self._head = int(words[head_word])

    @property
    def place(self) -> int:
        """The number of bytes ever popped: where the last record ended."""
        return self._head

    def is_empty(self) -> bool:
        """Whether there is nothing to pop at this moment."""
        return bool(self._words[self._tail_word] == self._head)

    def pop(self) -> bytes | None:
        """The oldest record, or ``None`` when the ring is empty. Raises ``RingCorruptError``."""
        head = self._head
        tail = self._words[self._tail_word]
        if tail == head:
            return None
        at = head & (self._size - 1)
        length = self._lengths[at >> 3]
        end = head + ((length + RECORD_HEADER + RECORD_ALIGN - 1) & -RECORD_ALIGN)
        if end > tail or tail - head > self._size or end - head > self._size - at:  # a wrap mark, or wrong
            return self.pop_many(1)[0]
        start = self._base + at + RECORD_HEADER
        record = self._store[start : start + length]
        self._head = self._words[self._head_word] = end
        return record

    def pop_many(self, limit: int) -> list[bytes]:
        """Up to ``limit`` records, oldest first; their room is free at once. Raises ``RingCorruptError``."""
        tail = self._words[self._tail_word]
        head = self._head
        if tail == head:
            return []
        size = self._size
        if not 0 < tail - head <= size:
            raise RingCorruptError(f"ring tail {tail} is not ahead of head {head} within {size} bytes")
        mask = size - 1
        lengths = self._lengths
        store = self._store
        base = self._base + RECORD_HEADER
        records: list[bytes] = []
        append = records.append
        while head < tail and len(records) < limit:
            at = head & mask
            length = lengths[at >> 3]
            if length == WRAP:
                head += size - at
                if head >= tail:
                    raise RingCorruptError(f"a wrap mark leads to {head}, where tail {tail} lets no record be")
                continue
            end = head + ((length + RECORD_HEADER + RECORD_ALIGN - 1) & -RECORD_ALIGN)
            if end > tail or at + RECORD_HEADER + length > size:
                raise RingCorruptError(f"a record of {length} bytes at {head} does not end before tail {tail}")
            start = base + at
            append(store[start : start + length])
            head = end
        self._head = head
        self._words[self._head_word] = head
        return records
