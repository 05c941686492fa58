"""A ring survives its other side: one that was killed between any two stores leaves whole records, one that went mad is
an error, never an endless loop and never bytes from outside the ring.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ring_support import BASE, HEAD, LARGEST, SIZE, TAIL, Killed, Life, Ring, lengths, record, rounded, starts

from arbd.ipc.layout import WRAP
from arbd.ipc.ring import RingCorruptError

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
