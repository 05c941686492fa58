"""A ring gives back exactly what was pushed, in order, whatever the interleaving, and survives the other side.

A side that is killed between any two stores leaves whole records; words that cannot be are an error, never an endless
loop and never bytes from outside the ring.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from arbd.core.layout import MIN_RING_BYTES, RECORD_HEADER, WRAP, largest_record
from arbd.core.ring import ByteStore, Consumer, Producer, RingCorruptError, check_ring_size
from arbd.errors import InvariantError
from arbd.host import memory

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
        store, words, lengths = self._views(life)
        return Producer(store, BASE, self.size, words, tail_word=TAIL, head_word=HEAD, lengths=lengths)

    def consumer(self, life: Life | None = None) -> Consumer:
        store, words, lengths = self._views(life)
        return Consumer(store, BASE, self.size, words, tail_word=TAIL, head_word=HEAD, lengths=lengths)

    def _views(self, life: Life | None) -> tuple[ByteStore, memoryview, memoryview]:
        if life is None:
            return self.store, self.words, self.lengths
        mortal = tuple(Mortal(view, life) for view in (self.store, self.words, self.lengths))
        return cast("tuple[ByteStore, memoryview, memoryview]", mortal)

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
        return self._view[where]

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


# Any interleaving ------------------------------------------------------------------------------------------------


class RingAgainstDeque(RuleBasedStateMachine):
    """Pushes and pops in any order, with either end let go and attached anew, against a deque."""

    @initialize(start=starts)
    def attach(self, start: int) -> None:
        self.ring = Ring(start)
        self.producer = self.ring.producer()
        self.consumer = self.ring.consumer()
        self.model: deque[bytes] = deque()
        self.pushed = 0

    @rule(length=lengths)
    def push(self, length: int) -> None:
        data = record(self.pushed, length)
        to_end = SIZE - self.ring.words[TAIL] % SIZE
        takes = rounded(length) + (to_end if rounded(length) > to_end else 0)
        fits = self.ring.used + takes <= SIZE
        assert self.producer.has_room(length) == fits
        assert self.producer.push(data) == fits
        if fits:
            self.model.append(data)
            self.pushed += 1

    @rule(length=lengths)
    def fill(self, length: int) -> None:
        for _ in range(SIZE // RECORD_HEADER):
            data = record(self.pushed, length)
            if not self.producer.push(data):
                break
            self.model.append(data)
            self.pushed += 1
        assert self.ring.used + 2 * rounded(length) > SIZE, "it was refused while half of the ring was free"

    @rule()
    def pop(self) -> None:
        assert self.consumer.pop() == (self.model.popleft() if self.model else None)

    @rule(limit=st.integers(0, 100))
    def pop_many(self, limit: int) -> None:
        expected = [self.model.popleft() for _ in range(min(limit, len(self.model)))]
        assert self.consumer.pop_many(limit) == expected

    @rule()
    def drain(self) -> None:
        assert self.consumer.pop_many(SIZE) == list(self.model)
        self.model.clear()
        assert self.ring.used == 0

    @rule()
    def attach_another_producer(self) -> None:
        self.producer = self.ring.producer()

    @rule()
    def attach_another_consumer(self) -> None:
        self.consumer = self.ring.consumer()

    @precondition(lambda self: hasattr(self, "ring"))
    @invariant()
    def is_empty_when_the_model_is(self) -> None:
        assert self.consumer.is_empty() == (not self.model)
        assert 0 <= self.ring.used <= SIZE


TestRingAgainstDeque = RingAgainstDeque.TestCase
TestRingAgainstDeque.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)


def test_every_size_up_to_the_largest_comes_back() -> None:
    ring = Ring()
    producer, consumer = ring.producer(), ring.consumer()
    for length in range(LARGEST + 1):
        data = record(length, length)
        assert producer.push(data)
        assert consumer.pop() == data
    assert ring.words[TAIL] > 100 * SIZE


def test_a_ring_always_takes_two_of_the_largest() -> None:
    for start in range(0, SIZE, 8):
        producer = Ring(start).producer()
        assert producer.push(record(1, LARGEST))
        assert producer.push(record(2, LARGEST))


def test_a_full_ring_refuses_and_changes_nothing_until_it_is_read() -> None:
    ring = Ring()
    producer, consumer = ring.producer(), ring.consumer()
    count = SIZE // rounded(8)
    for number in range(count):
        assert producer.push(record(number, 8))
    before = bytes(ring.store)
    assert producer.push(b"") is False
    assert producer.has_room(0) is False
    assert bytes(ring.store) == before
    assert consumer.pop() == record(0, 8)
    assert producer.push(record(count, 8)) is True
    assert consumer.pop_many(SIZE) == [record(number, 8) for number in range(1, count + 1)]


def test_an_empty_ring_gives_nothing() -> None:
    consumer = Ring().consumer()
    assert consumer.pop() is None
    assert consumer.pop_many(10) == []
    assert consumer.is_empty()


@given(start=starts, length=st.integers(LARGEST + 1, 3 * SIZE))
def test_a_record_that_is_too_large_is_never_just_refused(start: int, length: int) -> None:
    """``False`` means "later": it would be tried again for ever."""
    ring = Ring(start)
    data = record(7, length)
    taken: bool | None = None
    with suppress(ValueError):
        taken = ring.producer().push(data)
    assert taken is not False
    assert ring.consumer().pop() == (data if taken else None)


def test_has_room_refuses_a_record_that_never_fits() -> None:
    with pytest.raises(ValueError, match=f"a record of {LARGEST + 1} bytes never fits a ring of {SIZE}"):
        Ring().producer().has_room(LARGEST + 1)


@pytest.mark.parametrize("size", [0, -1, 1, MIN_RING_BYTES // 2, MIN_RING_BYTES - 1, MIN_RING_BYTES + 8])
def test_a_size_that_cannot_work_is_refused(size: int) -> None:
    with pytest.raises(InvariantError, match=f"a power of two of at least {MIN_RING_BYTES}, not {size}"):
        check_ring_size(size)


def test_both_ends_check_the_size() -> None:
    ring = Ring()
    ring.size = SIZE - 8
    for end in (ring.producer, ring.consumer):
        with pytest.raises(InvariantError, match="power of two"):
            end()


# Killed ----------------------------------------------------------------------------------------------------------


@given(start=starts, sizes=st.lists(lengths, max_size=12), stores=st.integers(0, 60))
def test_a_producer_killed_before_any_store_leaves_only_whole_records(
    start: int, sizes: list[int], stores: int
) -> None:
    ring = Ring(start)
    ring.store[BASE:] = b"\xee" * SIZE  # what an earlier lap left
    producer = ring.producer(Life(stores))
    pushed = []
    try:
        for number, length in enumerate(sizes):
            if producer.push(record(number, length)):
                pushed.append(record(number, length))
    except Killed:
        pass
    assert ring.consumer().pop_many(SIZE) == pushed
    assert ring.used == 0


@given(
    start=starts,
    sizes=st.lists(lengths, max_size=12),
    limits=st.lists(st.integers(1, 4), max_size=6),
    stores=st.integers(0, 6),
)
def test_a_consumer_killed_before_any_store_loses_nothing(
    start: int, sizes: list[int], limits: list[int], stores: int
) -> None:
    """What it had read without saying so is read again; what it had given back is not."""
    ring = Ring(start)
    producer = ring.producer()
    pushed = [data for data in (record(i, length) for i, length in enumerate(sizes)) if producer.push(data)]
    consumer = ring.consumer(Life(stores))
    given_back = 0
    try:
        for limit in limits:
            given_back += len(consumer.pop_many(limit))
    except Killed:
        pass
    assert ring.consumer().pop_many(SIZE) == pushed[given_back:]


# Gone mad --------------------------------------------------------------------------------------------------------


@given(start=starts, jump=st.integers(SIZE + 1, 2**64 - 1) | st.integers(-(2**63), -1))
def test_an_impossible_tail_is_an_error(start: int, jump: int) -> None:
    ring = Ring(start)
    consumer = ring.consumer()
    ring.words[TAIL] = (start + jump) % 2**64
    with pytest.raises(RingCorruptError, match=r"ring tail .* is not ahead of head"):
        consumer.pop()


@given(start=starts, jump=st.integers(1, 2**63) | st.integers(-(2**63), -SIZE - 1))
def test_an_impossible_head_is_an_error(start: int, jump: int) -> None:
    ring = Ring(start)
    producer = ring.producer()
    while producer.push(b""):
        pass
    ring.words[HEAD] = (start + SIZE + jump) % 2**64
    with pytest.raises(RingCorruptError, match=r"ring head .* is not behind tail"):
        producer.has_room(0)
    with pytest.raises(RingCorruptError, match=r"ring head .* is not behind tail"):
        producer.push(b"")


@given(start=starts, length=st.integers(0, LARGEST), wrong=st.integers(0, 2**64 - 1) | st.integers(0, 2 * SIZE))
def test_a_length_that_does_not_end_with_a_record_is_an_error(start: int, length: int, wrong: int) -> None:
    ring = Ring(start)
    ring.producer().push(b"\xff" * length)
    at = 0 if rounded(length) > SIZE - start % SIZE else start % SIZE
    if rounded(wrong) == rounded(length):
        wrong += 8
    ring.lengths[at // 8] = wrong % 2**64
    consumer = ring.consumer()
    with pytest.raises(RingCorruptError, match=r"does not end before tail|a wrap mark leads to"):
        consumer.pop_many(SIZE)
    with pytest.raises(RingCorruptError):
        consumer.pop_many(SIZE)  # and it stays one


def test_a_wrap_mark_that_leads_to_the_tail_is_an_error() -> None:
    """A producer publishes a wrap mark only together with the record after it."""
    ring = Ring(SIZE - 16)
    ring.producer().push(b"12345678")
    ring.lengths[SIZE // 8 - 2] = WRAP
    with pytest.raises(RingCorruptError, match=f"a wrap mark leads to {SIZE}, where tail {SIZE} lets no record be"):
        ring.consumer().pop()


def test_a_wrap_mark_that_leads_past_the_tail_is_an_error() -> None:
    ring = Ring()
    ring.producer().push(b"12345678")
    ring.lengths[0] = WRAP
    with pytest.raises(RingCorruptError, match=f"a wrap mark leads to {SIZE}, where tail 16 lets no record be"):
        ring.consumer().pop()


def test_a_record_that_reaches_over_the_end_of_the_ring_is_an_error() -> None:
    ring = Ring(SIZE - 16)
    ring.words[TAIL] = SIZE + 64
    ring.lengths[SIZE // 8 - 2] = 40
    with pytest.raises(RingCorruptError, match="a record of 40 bytes"):
        ring.consumer().pop()


@given(
    start=starts,
    garbage=st.lists(st.sampled_from([0, 1, 8, 100, WRAP, SIZE, 2**63, 2**64 - 1]) | st.integers(0, SIZE), min_size=1),
    ahead=st.integers(0, 2 * SIZE),
    limit=st.integers(1, SIZE),
)
def test_garbage_comes_to_an_end_and_gives_no_bytes_from_outside(
    start: int, garbage: list[int], ahead: int, limit: int
) -> None:
    ring = Ring(start)
    for word in range(SIZE // 8):
        ring.lengths[word] = garbage[word % len(garbage)]
    ring.words[TAIL] = start + ahead
    consumer = ring.consumer(Life(loads=SIZE // 8 * 2 + 3))  # each step reads one length and at most one record
    try:
        records = consumer.pop_many(limit)
    except RingCorruptError:
        assert ring.words[HEAD] == start
    else:
        assert sum(map(rounded, map(len, records))) <= int(ring.words[HEAD]) - start <= ahead


# Two processes ---------------------------------------------------------------------------------------------------

_PRODUCER = """
import sys
from arbd.core.ring import Producer
from arbd.host import memory

fd, base, size, count = map(int, sys.argv[1:])
mapping = memory.attach(fd)
words = memory.words_of(mapping)
producer = Producer(mapping, base, size, words, tail_word=0, head_word=8, lengths=words[base // 8 :])
for number in range(count):
    record = (number.to_bytes(4, "big") * 400)[: 4 + number * 7919 % 1500]
    while not producer.push(record):
        pass
"""


def test_two_processes_at_full_speed() -> None:
    """Hundreds of laps with one process writing while the other reads; every byte is compared."""
    count = 20_000
    fd = memory.create("test-ring", BASE + SIZE)
    mapping = memory.attach(fd)
    words = memory.words_of(mapping)
    consumer = Consumer(mapping, BASE, SIZE, words, tail_word=TAIL, head_word=HEAD, lengths=words[BASE // 8 :])
    command = [sys.executable, "-c", _PRODUCER, *map(str, (fd, BASE, SIZE, count))]
    received = 0
    with subprocess.Popen(command, pass_fds=[fd]) as producer:
        give_up_at = time.monotonic() + 60
        while received < count and time.monotonic() < give_up_at:
            ended = producer.poll() is not None
            records = consumer.pop_many(64)
            for data in records:
                assert data == record(received, 4 + received * 7919 % 1500)
                received += 1
            if ended and not records:
                break
    assert (received, producer.returncode) == (count, 0)
    assert consumer.is_empty()
    os.close(fd)
