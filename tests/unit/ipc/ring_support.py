"""What the ring tests share: the memory of a ring, and a side that is killed at a chosen store."""

from __future__ import annotations

import mmap
from typing import Any, cast

from hypothesis import strategies as st

from arbd.ipc.layout import MIN_RING_BYTES, RECORD_HEADER, largest_record
from arbd.ipc.ring import ByteStore, Consumer, Producer

SIZE = MIN_RING_BYTES
LARGEST = largest_record(SIZE)
TAIL, HEAD = 0, 8
BASE = 128  # bytes of control words before the data

#: Where a ring may stand after any number of bytes: at its start, in its last word, beyond 2**62 and around 2**63.
starts = st.one_of(
    st.integers(0, 2 * SIZE // 8).map(lambda word: word * 8),
    st.integers(-SIZE // 8, SIZE // 8).map(lambda word: 2**63 + word * 8),
    st.sampled_from([SIZE - 8, 2**62]),
)
lengths = st.one_of(st.integers(0, 40), st.integers(0, LARGEST), st.integers(LARGEST - 40, LARGEST))


class Ring:
    """The memory of one ring, and new ends of it."""

    def __init__(self, start: int = 0, size: int = SIZE) -> None:
        self.size = size
        self.store = mmap.mmap(-1, BASE + size)
        self.words = memoryview(self.store).cast("Q")
        self.words[TAIL] = self.words[HEAD] = start
        self.lengths = self.words[BASE // 8 :]

    def producer(self, life: Life | None = None) -> Producer:
        store, words = self._views(life)
        return Producer(store, words, BASE, self.size, tail_word=TAIL, head_word=HEAD)

    def consumer(self, life: Life | None = None) -> Consumer:
        store, words = self._views(life)
        return Consumer(store, words, BASE, self.size, tail_word=TAIL, head_word=HEAD)

    def _views(self, life: Life | None) -> tuple[ByteStore, memoryview]:
        if life is None:
            return self.store, self.words
        mortal = tuple(Mortal(view, life) for view in (self.store, self.words))
        return cast("tuple[ByteStore, memoryview]", mortal)

    @property
    def used(self) -> int:
        return int(self.words[TAIL]) - int(self.words[HEAD])


class Killed(BaseException):
    """The process that stores is no more."""


class Life:
    """How many stores a process does before it is killed, and how many loads before it counts as endless."""

    def __init__(self, stores: int = 1_000_000, loads: int = 1_000_000) -> None:
        self.stores = stores
        self.loads = loads

    def spend_store(self) -> None:
        if self.stores == 0:
            raise Killed
        self.stores -= 1

    def spend_load(self) -> None:
        assert self.loads > 0, "the reader does not come to an end"
        self.loads -= 1


class Mortal:
    """Shared memory as a process sees it that may be killed before any store, or in the middle of a copy."""

    def __init__(self, view: Any, life: Life) -> None:
        self._view = view
        self._life = life

    def __getitem__(self, where: Any) -> Any:
        self._life.spend_load()
        found = self._view[where]
        return Mortal(found, self._life) if isinstance(found, memoryview) else found

    def __setitem__(self, where: Any, value: Any) -> None:
        self._life.spend_store()
        if isinstance(where, slice):
            half = len(value) // 2
            self._view[where.start : where.start + half] = value[:half]
            self._life.spend_store()
        self._view[where] = value


def record(number: int, length: int) -> bytes:
    """Bytes that no other record has at the same place."""
    return (number.to_bytes(4, "big") * (length // 4 + 1))[:length]


def rounded(length: int) -> int:
    """What a record takes in the ring."""
    return -(-(length + RECORD_HEADER) // 8) * 8
