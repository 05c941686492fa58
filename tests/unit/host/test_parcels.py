"""A parcel comes out as it went in, in order; one that is missing, too large or not to be sent now is told."""

from __future__ import annotations

import errno
import os
import socket as socket_module
from collections.abc import Callable, Iterator
from socket import socket
from typing import Any

import pytest
from descriptor_support import no_free_descriptor, with_reserve

from arbd.host import channel, parcels, reserve


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


def test_after_something_unexpected_no_parcel_is_taken_for_another(
    ends: tuple[socket, socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first may still be in the socket, or be gone: the next record's could be either."""

    def fails(*_: Any) -> Any:
        raise RuntimeError("injected")

    one, other = ends
    bodies = parcels.Receiver(other)
    for body in (b"first", b"second", b"third"):
        assert parcels.send(one, (body,))
    assert bodies.take(10) == b"first"
    with monkeypatch.context() as patch:
        patch.setattr(parcels, "_peek", fails)
        with pytest.raises(RuntimeError):
            bodies.take(10)
    for _ in range(2):
        with pytest.raises(parcels.NotNow, match="not known"):
            bodies.take(10)


def test_a_full_socket_says_so_and_a_closed_one_does_not(ends: tuple[socket, socket]) -> None:
    one, other = ends
    sent = 0
    while parcels.send(one, (b"x",)):
        sent += 1
    assert sent > 1
    assert parcels.take(other, 1) == b"x"
    other.close()
    assert parcels.send(one, (b"x",))


# What a process lacks for a moment loses nothing ------------------------------------------------------------------


def test_without_a_free_descriptor_nothing_is_sent_and_nothing_is_lost(ends: tuple[socket, socket]) -> None:
    one, other = ends
    assert parcels.send(one, (b"first",))
    with no_free_descriptor():
        assert parcels.send(one, (b"second",)) is False
        for _ in range(3):
            with pytest.raises(parcels.NotNow):
                parcels.take(other, 10)
    assert parcels.send(one, (b"second",))
    assert [parcels.take(other, 10), parcels.take(other, 10)] == [b"first", b"second"]


@with_reserve()
def test_the_reserve_serves_both_ways_again_and_again(ends: tuple[socket, socket]) -> None:
    one, other = ends
    with no_free_descriptor():
        for body in (b"first", b"second", b"third"):
            assert parcels.send(one, (body,))
            assert parcels.take(other, 10) == body


@with_reserve()
def test_a_reserve_that_could_not_be_taken_again_is_when_it_can(ends: tuple[socket, socket]) -> None:
    one, other = ends
    reserve.give_up()
    with no_free_descriptor():
        assert parcels.send(one, (b"x",)) is False
    assert parcels.send(one, (b"x",))
    with no_free_descriptor():
        assert parcels.take(other, 1) == b"x"


def failing(number: int) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", sorted(parcels.NOT_NOW))
@pytest.mark.parametrize(("module", "name"), [(os, "memfd_create"), (os, "write"), (socket_module, "send_fds")])
def test_what_is_ordinary_is_for_later(
    monkeypatch: pytest.MonkeyPatch, ends: tuple[socket, socket], module: Any, name: str, number: int
) -> None:
    one, other = ends
    with monkeypatch.context() as patched:
        patched.setattr(module, name, failing(number))
        assert parcels.send(one, (b"x",)) is False
    with pytest.raises(BlockingIOError):
        parcels.take(other, 1)
    assert parcels.send(one, (b"x",))
    assert parcels.take(other, 1) == b"x"


def test_what_no_waiting_mends_is_told(monkeypatch: pytest.MonkeyPatch, ends: tuple[socket, socket]) -> None:
    monkeypatch.setattr(os, "write", failing(errno.EFBIG))  # a limit of the size of files
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        parcels.send(ends[0], (b"x",))


def test_one_that_cannot_be_read_now_stays_and_one_that_never_can_does_not(
    monkeypatch: pytest.MonkeyPatch, ends: tuple[socket, socket]
) -> None:
    one, other = ends
    assert parcels.send(one, (b"first",))
    assert parcels.send(one, (b"second",))
    assert parcels.send(one, (b"third",))
    for error, expected in (
        (OSError(errno.ENOMEM, "injected"), parcels.NotNow),
        (OSError(errno.EIO, "injected"), OSError),
        (RuntimeError("injected"), RuntimeError),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(os, "pread", _raising(error))
            with pytest.raises(expected):
                parcels.take(other, 10)
    assert parcels.take(other, 10) == b"third"


def _raising(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise error

    return call


def test_a_side_that_ended_with_parcels_unread_has_still_sent_its_own(ends: tuple[socket, socket]) -> None:
    """The kernel tells of its end first, once; taken for the answer, that made a finished result a lost one."""
    one, other = ends
    assert parcels.send(one, (b"unread",))
    assert parcels.send(other, (b"a result",))
    other.close()
    assert parcels.take(one, 10) == b"a result"


def test_one_is_dropped_without_a_descriptor(ends: tuple[socket, socket]) -> None:
    one, other = ends
    for body in (b"first", b"second"):
        assert parcels.send(one, (body,))
    with no_free_descriptor():
        parcels.skip(other)
    assert parcels.take(other, 10) == b"second"


def test_what_is_taken_is_closed_on_exec_from_the_start(ends: tuple[socket, socket], monkeypatch: Any) -> None:
    one, other = ends
    inheritable: list[bool] = []
    real = os.pread

    def look(fd: int, *arguments: int) -> bytes:
        inheritable.append(os.get_inheritable(fd))
        return real(fd, *arguments)

    monkeypatch.setattr(os, "pread", look)
    assert parcels.send(one, (b"x",))
    assert parcels.take(other, 1) == b"x"
    assert inheritable == [False]
