"""A parcel comes out as it went in, in order; one that is missing, too large or not to be sent now is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from socket import socket

import pytest

from arbd.host import channel, parcels, procs


@pytest.fixture
def ends() -> Iterator[tuple[socket, socket]]:
    one, other = channel.pair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


def test_parcels_come_in_order(ends: tuple[socket, socket]) -> None:
    one, other = ends
    assert parcels.send(one, (b"a", b"", b"bc"))
    assert parcels.send(one, (b"second" * 100_000,))
    assert parcels.take(other, 10) == b"abc"
    assert parcels.take(other, 600_000) == b"second" * 100_000


def test_one_that_is_not_there_or_too_large_is_refused(ends: tuple[socket, socket]) -> None:
    one, other = ends
    with pytest.raises(BlockingIOError):
        parcels.take(other, 10)
    assert parcels.send(one, (b"eleven char",))
    with pytest.raises(ValueError, match="11 bytes"):
        parcels.take(other, 10)
    one.send(b"p")  # announced, and nothing in it
    with pytest.raises(ValueError, match="without its parcel"):
        parcels.take(other, 10)


def test_a_full_socket_says_so_and_a_closed_one_does_not(ends: tuple[socket, socket]) -> None:
    one, other = ends
    sent = 0
    while parcels.send(one, (b"x",)):
        sent += 1
    assert sent > 1
    assert parcels.take(other, 1) == b"x"
    other.close()
    assert parcels.send(one, (b"x",))


def test_the_cpu_time_of_a_process() -> None:
    before = procs.cpu_s(os.getpid())
    sum(range(200_000))
    assert procs.cpu_s(os.getpid()) > before > 0
    assert procs.cpu_s(2**22 + 1) == 0.0  # above the largest number of a process
