"""A terminal is taken and put back as it was, also where it takes nothing, or is gone."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
from collections.abc import Iterator
from typing import Any

import pytest

from arbd.cli.top.screen import Screen


class Pty:
    """A terminal: ``user`` is the side of whoever sits before it."""

    def __init__(self) -> None:
        self.user, self.terminal = os.openpty()
        self.before: list[Any] = termios.tcgetattr(self.terminal)

    def seen(self, end: bytes) -> bytes:
        """What is seen up to that; it may take a moment from one side to the other."""
        seen = b""
        while not seen.endswith(end):
            assert select.select([self.user], [], [], 20)[0], seen
            seen += os.read(self.user, 1 << 16)
        return seen

    def typed(self, keys: bytes) -> bytes:
        """Type these; what the program reads then."""
        os.write(self.user, keys)
        read = b""
        while len(read) < len(keys):
            assert select.select([self.terminal], [], [], 20)[0], read
            read += os.read(self.terminal, 100)
        return read

    def has_more_to_see(self) -> bool:
        return bool(select.select([self.user], [], [], 0)[0])

    def close(self) -> None:
        for side in (self.user, self.terminal):
            os.close(side)


@pytest.fixture
def pty() -> Iterator[Pty]:
    pty = Pty()
    yield pty
    pty.close()


def test_inside_keys_come_at_once_and_unseen_and_afterwards_all_is_as_before(pty: Pty) -> None:
    with Screen(pty.terminal, pty.terminal) as screen:
        assert pty.seen(b"\x1b[2J").startswith(b"\x1b[?1049h")
        assert pty.typed(b"k\x13") == b"k\x13"  # Ctrl-S stops nothing
        assert not pty.has_more_to_see()
        screen.draw(["one", "zwei ü"], "utf-8")
        assert pty.seen("zwei ü".encode()).decode() == "\x1b[1;1Hone\x1b[2;1Hzwei ü"
        assert not screen.wants_to_write
    pty.seen(b"\x1b[?7h\x1b[?25h\x1b[0m\x1b[?1049l")
    assert termios.tcgetattr(pty.terminal) == pty.before


def test_it_can_be_left_and_taken_again(pty: Pty) -> None:
    with Screen(pty.terminal, pty.terminal) as screen:
        screen.leave()
        assert termios.tcgetattr(pty.terminal) == pty.before
        pty.seen(b"\x1b[?1049l")
        screen.enter()
        assert pty.seen(b"\x1b[2J").startswith(b"\x1b[?1049h")
        assert termios.tcgetattr(pty.terminal) != pty.before
    assert termios.tcgetattr(pty.terminal) == pty.before


def test_letters_that_its_encoding_does_not_have_are_marks(pty: Pty) -> None:
    with Screen(pty.terminal, pty.terminal) as screen:
        pty.seen(b"\x1b[2J")
        screen.draw(["µ…"], "ascii")
        assert pty.seen(b"??") == b"\x1b[1;1H??"


def test_frames_that_it_does_not_take_are_dropped_but_for_the_last(pty: Pty) -> None:
    with Screen(pty.terminal, pty.terminal) as screen:
        pty.seen(b"\x1b[2J")
        for number in range(100):
            screen.draw([f"{number:3}" + "x" * 5000], "utf-8")
        assert screen.wants_to_write
        seen = b""
        while not seen.endswith(b"\x1b[1;1H 99" + b"x" * 5000):
            assert select.select([pty.user], [], [], 20)[0]
            seen += os.read(pty.user, 1 << 16)
            screen.flush()
        frames = seen.split(b"\x1b[1;1H")[1:]
        assert len(frames) < 50
        assert {len(frame) for frame in frames} == {5003}


def test_its_size_is_told_and_a_usual_one_where_it_knows_none(pty: Pty) -> None:
    with Screen(pty.terminal, pty.terminal) as screen:
        assert screen.size() == (80, 24)
        fcntl.ioctl(pty.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        assert screen.size() == (120, 30)


def test_what_was_typed_can_be_forgotten(pty: Pty) -> None:
    with Screen(pty.terminal, pty.terminal) as screen:
        os.write(pty.user, b"yyy")
        assert select.select([pty.terminal], [], [], 20)[0]
        screen.forget()
        assert pty.typed(b"q") == b"q"


def test_one_that_is_gone_is_left_without_a_word(pty: Pty) -> None:
    with Screen(pty.terminal, pty.terminal) as screen:
        os.close(pty.user)
        pty.user = os.open(os.devnull, os.O_RDONLY)
        screen.forget()
        screen.clear()
        with pytest.raises(OSError, match="Input/output error"):
            screen.flush()
        with pytest.raises(OSError, match="Input/output error"):
            screen.enter()


def test_one_that_cannot_be_opened_again_is_written_to_as_it_is(pty: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to another user, after su."""

    def refuse(*_: Any) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    with Screen(pty.terminal, pty.terminal) as screen:
        assert screen.output != pty.terminal
        screen.draw(["one"], "utf-8")
        pty.seen(b"\x1b[1;1Hone")


def test_where_it_cannot_be_taken_nothing_is_left_open(pty: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise termios.error(5, "Input/output error")

    before = os.listdir("/proc/self/fd")
    screen = Screen(pty.terminal, pty.terminal)
    monkeypatch.setattr(termios, "tcsetattr", fail)
    with pytest.raises(OSError, match="Input/output error"), screen:
        pass
    assert os.listdir("/proc/self/fd") == before
