"""Pipes that never wait for what is read, and say how much waits in them."""

from __future__ import annotations

import fcntl
import os

import pytest

from arbd.host import child_counts, pipes, stdio


def test_a_pipe() -> None:
    reading, writing = pipes.make()
    assert not os.get_inheritable(reading)
    assert not os.get_inheritable(writing)
    assert os.get_blocking(writing)
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)
    assert pipes.waiting(writing) == 0
    os.write(writing, b"x" * 5_000)
    assert (pipes.waiting(writing), pipes.waiting(reading)) == (5_000, 5_000)
    os.close(reading)
    os.close(writing)
    assert pipes.waiting(writing) == -1


def test_a_user_who_has_too_much_in_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object) -> int:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(fcntl, "fcntl", no)
    reading, writing = pipes.make()
    os.write(writing, b"x")
    assert os.read(reading, 2) == b"x"
    os.close(reading)
    os.close(writing)


def test_children_are_counted() -> None:
    assert child_counts.reaped() == child_counts.reaped()
    assert child_counts.has_child() in (True, False)


def test_the_c_library_can_be_flushed() -> None:
    stdio.flush()


def test_a_c_library_without_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "_stdout", None)
    stdio.buffer_lines()
    stdio.flush()
