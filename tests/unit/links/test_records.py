"""Records come out of a ring in order with their bodies; one whose body cannot be had now comes once more."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest

from arbd.host import channel, memory, parcels
from arbd.ipc import layout
from arbd.ipc.link_frame import Encoded
from arbd.ipc.ring import Consumer, Producer, Pushed, RingCorruptError
from arbd.links.processes.records import Incoming, push

SIZE = layout.MIN_RING_BYTES
LARGE = b"x" * SIZE


class Ends:
    """Both ends of a ring, and of the socket beside it."""

    def __init__(self) -> None:
        store: Any = bytearray(8 * 64 + SIZE)
        words = memoryview(store).cast("Q")
        self.producer = Producer(store, words, 8 * 64, SIZE, tail_word=0, head_word=8)
        self.consumer = Consumer(store, words, 8 * 64, SIZE, tail_word=0, head_word=8)
        self.side, self.other = channel.pair()
        for end in (self.side, self.other):
            end.setblocking(False)
        self.incoming = Incoming(self.consumer, self.other, 1 << 20)
        self.seen: list[bytes] = []

    def push(self, record: bytes, *parcel: bytes) -> Pushed:
        return push(self.producer, self.side, Encoded(record, parcel or None))

    def note(self, record: bytes) -> None:
        """A record that begins with P has a body."""
        self.seen.append(record + self.incoming.take_parcel() if record.startswith(b"P") else record)


@pytest.fixture
def ends() -> Iterator[Ends]:
    both = Ends()
    with both.side, both.other:
        yield both


def test_records_come_in_order_and_bodies_with_their_own(ends: Ends) -> None:
    assert [ends.push(b"1"), ends.push(b"P2", b"two", b"fold"), ends.push(b"P3", LARGE)] == [Pushed.DONE] * 3
    assert ends.incoming.take(ends.note) == 3
    assert ends.seen == [b"1", b"P2twofold", b"P3" + LARGE]
    assert ends.incoming.take(ends.note) == 0


@pytest.mark.parametrize("parcel", [(), (b"body",)])
def test_without_room_nothing_is_sent(ends: Ends, parcel: tuple[bytes, ...]) -> None:
    while ends.push(b"r" * 100) is Pushed.DONE:
        pass
    assert ends.push(b"r" * 100, *parcel) is Pushed.FULL
    with pytest.raises(BlockingIOError):
        ends.incoming.take_parcel()


@pytest.mark.parametrize("number", [errno.ENFILE, errno.EFBIG])
def test_without_its_body_no_record_is_sent(ends: Ends, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> Any:
        raise OSError(number, "injected")

    monkeypatch.setattr(memory, "create_parcel", none)
    assert ends.push(b"P", b"body") is Pushed.LATER
    assert ends.incoming.take(ends.note) == 0


def test_a_body_without_its_record_makes_the_ring_unusable(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> bool:
        raise MemoryError

    monkeypatch.setattr(Producer, "push", broken)
    with pytest.raises(RingCorruptError, match="did not follow"):
        ends.push(b"P", b"body")


def test_what_cannot_be_had_now_comes_once_more(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    for record in (b"1", b"P2", b"3"):
        ends.push(record, *([b"body"] if record == b"P2" else []))

    def not_now(*_: Any) -> Any:
        raise parcels.NotNow(errno.EMFILE, "injected")

    with monkeypatch.context() as for_now:
        for_now.setattr(parcels, "take", not_now)
        for _ in range(2):
            with pytest.raises(parcels.NotNow):
                ends.incoming.take(ends.note)
    assert ends.seen == [b"1"]
    assert ends.incoming.take(ends.note) == 2
    assert ends.seen == [b"1", b"P2body", b"3"]


def test_one_that_cannot_be_read_is_not_seen_again_and_the_others_are(ends: Ends) -> None:
    for record in (b"1", b"bad", b"3"):
        ends.push(record)

    def each(record: bytes) -> None:
        if record == b"bad":
            raise ValueError(record)
        ends.note(record)

    with pytest.raises(ValueError, match="bad"):
        ends.incoming.take(each)
    ends.push(b"4")
    assert [ends.incoming.take(each) for _ in range(3)] == [1, 1, 0]
    assert ends.seen == [b"1", b"3", b"4"]
