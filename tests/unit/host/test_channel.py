"""A control message arrives whole and alone, with its descriptors; the end of the stream is an empty message."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from descriptor_support import no_free_descriptor, with_reserve

from arbd.host import channel, memory

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Pair]:
    one, other = channel.pair()
    with one, other:
        yield one, other


def test_messages_keep_their_bounds(ends: Pair) -> None:
    messages = [b"a", b"\0", b"x" * channel.MAX_MESSAGE]
    for message in messages:
        channel.send(ends[0], message)
    assert [channel.receive(ends[1]) for _ in messages] == [(message, []) for message in messages]


def test_both_directions(ends: Pair) -> None:
    channel.send(ends[0], b"there")
    channel.send(ends[1], b"back")
    assert (channel.receive(ends[1]), channel.receive(ends[0])) == ((b"there", []), (b"back", []))


def test_descriptors_come_in_order_with_their_own_message(ends: Pair) -> None:
    bodies = [b"one", b"two", b"three", b"four", b"five"]  # as many as Spawn has
    fds = [memory.create_parcel((body,)) for body in bodies]
    channel.send(ends[0], b"none")
    channel.send(ends[0], b"five", tuple(fds))
    channel.send(ends[0], b"none again")
    for fd in fds:
        os.close(fd)
    assert channel.receive(ends[1]) == (b"none", [])
    message, received = channel.receive(ends[1])
    assert message == b"five"
    assert [os.get_inheritable(fd) for fd in received] == [False] * 5
    assert [memory.read_parcel(fd, limit=10) for fd in received] == bodies
    assert channel.receive(ends[1]) == (b"none again", [])


def test_the_other_end_closed_is_an_empty_message_after_what_was_sent(ends: Pair) -> None:
    channel.send(ends[0], b"last words")
    ends[0].close()
    assert [channel.receive(ends[1]) for _ in range(3)] == [(b"last words", []), (b"", []), (b"", [])]


def test_an_end_that_closed_without_reading_is_an_empty_message_too(ends: Pair) -> None:
    channel.send(ends[1], b"never read")
    ends[0].close()
    assert channel.receive(ends[1]) == (b"", [])


def test_what_an_end_sent_before_it_closed_without_reading_is_not_lost(ends: Pair) -> None:
    channel.send(ends[1], b"never read")
    channel.send(ends[0], b"last words")
    ends[0].close()
    assert [channel.receive(ends[1]) for _ in range(2)] == [(b"last words", []), (b"", [])]


def test_a_message_whose_descriptors_find_no_number_comes_without_them(ends: Pair) -> None:
    """Who needs them counts them; the messages behind it come as they were sent."""
    channel.send(ends[0], b"with", (0, 0, 0))
    channel.send(ends[0], b"without")
    with no_free_descriptor():
        assert channel.receive(ends[1]) == (b"with", [])
        assert channel.receive(ends[1]) == (b"without", [])


@with_reserve()
def test_for_one_descriptor_there_is_always_room(ends: Pair) -> None:
    with no_free_descriptor():
        for _ in range(3):
            channel.send(ends[0], b"with", (0,))
            message, [fd] = channel.receive(ends[1])
            assert (message, os.get_inheritable(fd)) == (b"with", False)
            os.close(fd)


def test_sending_to_nobody_is_a_broken_pipe(ends: Pair) -> None:
    ends[1].close()
    with pytest.raises(BrokenPipeError):
        channel.send(ends[0], b"x")


def test_a_message_that_is_too_long_is_refused_before_it_is_sent(ends: Pair) -> None:
    with pytest.raises(ValueError, match="a control message of 65537 bytes is too long; send it as a memfd"):
        channel.send(ends[0], b"x" * (channel.MAX_MESSAGE + 1))
    channel.send(ends[0], b"next")
    assert channel.receive(ends[1]) == (b"next", [])


def test_a_full_channel_does_not_block_an_end_that_must_not(ends: Pair) -> None:
    for end in ends:
        end.setblocking(False)
    sent = 0
    try:
        while sent < 10_000:
            channel.send(ends[0], b"x" * 1000)
            sent += 1
    except BlockingIOError:
        pass
    assert 10 < sent < 10_000
    assert [channel.receive(ends[1]) for _ in range(sent)] == [(b"x" * 1000, [])] * sent
    with pytest.raises(BlockingIOError):
        channel.receive(ends[1])
