"""A ring gives back exactly what was pushed, in order, whatever the interleaving and at full speed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ring_support import BASE, HEAD, LARGEST, SIZE, TAIL, Ring, lengths, record, rounded, starts
from thoroughness import examples

from arbd.errors import InvariantError
from arbd.host import memory
from arbd.ipc.layout import MIN_RING_BYTES, RECORD_HEADER
from arbd.ipc.ring import Consumer, check_ring_size

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
TestRingAgainstDeque.settings = settings(max_examples=examples(80), stateful_step_count=50)


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


# Two processes ---------------------------------------------------------------------------------------------------

_PRODUCER = """
import sys
from arbd.ipc.ring import Producer
from arbd.host import memory

fd, base, size, count = map(int, sys.argv[1:])
mapping = memory.attach(fd)
words = memory.words_of(mapping)
producer = Producer(mapping, words, base, size, tail_word=0, head_word=8)
for number in range(count):
    record = (number.to_bytes(4, "big") * 400)[: 4 + number * 7919 % 1500]
    while not producer.push(record):
        pass
"""


def test_two_processes_at_full_speed() -> None:
    """Hundreds of laps with one process writing while the other reads; every byte is compared."""
    count = 10_000
    fd = memory.create("test-ring", BASE + SIZE)
    mapping = memory.attach(fd)
    words = memory.words_of(mapping)
    consumer = Consumer(mapping, words, BASE, SIZE, tail_word=TAIL, head_word=HEAD)
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
