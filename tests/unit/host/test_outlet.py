"""Nobody who writes through an outlet ever waits for a reader, and nobody else notices that it does not.

Every descriptor here is filled by writing to it; where an outlet did wait, the test would not end.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import socket
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.host import outlet
from arbd.host.outlet import ATOMIC, Outlet, outlet_of

LINE = b"x" * 99 + b"\n"


class Ends:
    """The two ends of something; ``written`` is a descriptor that is shared with others, as standard error is."""

    def __init__(self, read: int, written: int) -> None:
        self.read = read
        self.written = written
        self.outlet = outlet_of(written)
        self.write = self.outlet.writer()

    def fill(self) -> int:
        """Write until there is no room for a single byte more; how many bytes that took."""
        total = self._fill()
        # The kernel moves what is in a terminal on to its other end a moment later, and then there is room again.
        while self.outlet.atomic == 0 and self.outlet.wait(1, 0.05):
            total += self._fill()
        return total

    def _fill(self) -> int:
        total = 0
        for size in (ATOMIC, 100, 1):
            try:
                while True:
                    total += self.write(b"." * size)
            except BlockingIOError:
                pass
        return total

    def take(self, size: int) -> bytes:
        """Read so many bytes."""
        found = b""
        while len(found) < size:
            found += os.read(self.read, size - len(found))
        return found

    def close(self) -> None:
        """Close what was opened."""
        del self.write, self.outlet
        os.close(self.read)
        os.close(self.written)


def a_pipe() -> tuple[int, int]:
    return os.pipe()


def a_terminal() -> tuple[int, int]:
    primary, secondary = os.openpty()
    tty.setraw(secondary)  # what is read is what was written
    return primary, secondary


def a_socket() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_fd: int) -> int:
        raise PermissionError(errno.EACCES, "it belongs to somebody else")

    monkeypatch.setattr(outlet, "_open_again", refused)


def on_an_older_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "not for this kind of file")

    monkeypatch.setattr(os, "pwritev", unknown)


WAYS: dict[str, tuple[Callable[[], tuple[int, int]], list[Callable[[pytest.MonkeyPatch], None]]]] = {
    "pipe": (a_pipe, []),
    "pipe of another user": (a_pipe, [of_another_user]),
    "pipe of another user, older kernel": (a_pipe, [of_another_user, on_an_older_kernel]),
    "socket": (a_socket, []),
    "socket, older kernel": (a_socket, [on_an_older_kernel]),
    "terminal": (a_terminal, []),
    "terminal of another user": (a_terminal, [of_another_user]),
}
PIPES = [name for name in WAYS if name.startswith("pipe")]


@contextmanager
def ends_of(way: str) -> Iterator[Ends]:
    make, circumstances = WAYS[way]
    with pytest.MonkeyPatch.context() as monkeypatch:
        for circumstance in circumstances:
            circumstance(monkeypatch)
        ends = Ends(*make())
        yield ends
        ends.close()


@pytest.fixture
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    with ends_of(getattr(request, "param", "pipe")) as ends:
        yield ends


all_ways = pytest.mark.parametrize("ends", WAYS, indirect=True)


@all_ways
def test_what_is_full_is_not_waited_for(ends: Ends) -> None:
    total = ends.fill()
    assert total > ATOMIC
    for size in (1, 100, ATOMIC, 3 * ATOMIC):
        with pytest.raises(BlockingIOError):
            ends.write(b"." * size)
    assert ends.outlet.wait(1, 0) is False


@all_ways
def test_there_is_room_again_when_somebody_reads(ends: Ends) -> None:
    total = ends.fill()
    assert ends.take(total) == b"." * total
    assert ends.outlet.wait(len(LINE), 10) is True
    assert ends.write(LINE) == len(LINE)
    assert ends.take(len(LINE)) == LINE


@all_ways
def test_the_wait_for_room_ends_when_somebody_reads(ends: Ends) -> None:
    total = ends.fill()
    reader = threading.Thread(target=ends.take, args=(total,))
    reader.start()
    assert ends.outlet.wait(1, 30) is True
    reader.join()


@all_ways
def test_the_open_file_that_others_share_still_waits(ends: Ends) -> None:
    """Its flags are theirs as well."""
    ends.fill()
    assert fcntl.fcntl(ends.written, fcntl.F_GETFL) & os.O_NONBLOCK == 0


@pytest.mark.parametrize("way", [way for way in WAYS if "terminal" not in way])  # those promise nothing
@given(sizes=st.lists(st.integers(1, ATOMIC), max_size=40), taken=st.integers(0, 3 * ATOMIC))
def test_a_short_line_goes_out_whole_or_not_at_all(way: str, sizes: list[int], taken: int) -> None:
    with ends_of(way) as ends:
        ends.take(min(taken, ends.fill()))
        for size in sizes:
            try:
                assert ends.write(b"." * size) == size
            except BlockingIOError:
                pass


@pytest.mark.parametrize("way", PIPES)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(200, 30_000)), max_size=60))
def test_a_long_line_goes_out_in_one_piece_where_it_fits(way: str, steps: list[tuple[bool, int]]) -> None:
    """Else what others write would stand in the middle of it."""
    inside = 0
    with ends_of(way) as ends:
        for is_read, size in steps:
            if is_read:
                inside -= len(ends.take(min(size, inside)))
            elif size <= ATOMIC or ends.outlet.fits(size):
                try:
                    assert ends.write(b"." * size) == size or not inside
                except BlockingIOError:
                    assert size <= ATOMIC
                else:
                    inside += size


@pytest.mark.parametrize("way", PIPES)
def test_a_pipe_that_is_too_small_for_a_line_is_made_larger(way: str) -> None:
    long = b"." * 200_000
    with ends_of(way) as ends:
        ends.write(LINE)
        assert ends.outlet.fits(len(long)) is True
        if way != "pipe of another user, older kernel":  # there a write takes no more than its own pipe holds
            assert ends.write(long) == len(long)


@pytest.mark.parametrize("way", PIPES)
def test_where_that_is_refused_an_empty_pipe_is_all_the_room_there_is(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = fcntl.fcntl

    def refuse(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETPIPE_SZ:
            raise PermissionError(errno.EPERM, "more than this user may have")
        return ask(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    long = b"." * 200_000
    with ends_of(way) as ends:
        assert ends.outlet.fits(len(long)) is True
        written = ends.write(long)
        assert 0 < written < len(long)
        assert ends.outlet.fits(len(long)) is False
        ends.take(written)


@pytest.mark.parametrize("ends", PIPES, indirect=True)
def test_the_wait_for_more_than_a_page_is_over_in_time_with_room_for_a_page(ends: Ends) -> None:
    ends.fill()
    assert ends.outlet.wait(3 * ATOMIC, 0) is False
    ends.take(ATOMIC)
    assert ends.outlet.wait(3 * ATOMIC, 0) is False
    assert ends.outlet.wait(3 * ATOMIC, 0.000_001) is True
    assert ends.outlet.fits(3 * ATOMIC) is False


def refusal(write: Callable[[bytes], int]) -> int | None:
    """The number of the error that writing a line raises."""
    try:
        write(LINE)
    except OSError as error:
        return error.errno
    return None


@all_ways
def test_without_a_reader_it_fails(ends: Ends) -> None:
    os.close(ends.read)
    try:
        assert refusal(ends.write) in (errno.EPIPE, errno.EIO, errno.EAGAIN)
        assert ends.outlet.wait(1, 10) is False
    finally:
        ends.read = os.open(os.devnull, os.O_RDONLY)


def test_a_pipe_without_a_reader_is_an_outlet() -> None:
    """A FIFO may get another one."""
    read, written = os.pipe()
    os.close(read)
    found = outlet_of(written)
    assert refusal(found.writer()) == errno.EPIPE
    os.close(written)


@pytest.mark.parametrize("ends", PIPES, indirect=True)
def test_a_line_that_found_no_room_does_not_come_later(ends: Ends) -> None:
    total = ends.fill()
    with pytest.raises(BlockingIOError):
        ends.write(b"lost\n")
    ends.take(total)
    ends.write(b"written\n")
    assert os.read(ends.read, 100) == b"written\n"


def test_a_default_timeout_of_an_author_changes_no_open_file() -> None:
    """``socket.setdefaulttimeout`` makes every socket object from then on set ``O_NONBLOCK``."""
    before = socket.getdefaulttimeout()
    read, written = a_socket()
    try:
        socket.setdefaulttimeout(10)
        outlet_of(written).writer()(LINE)
    finally:
        socket.setdefaulttimeout(before)
    assert fcntl.fcntl(written, fcntl.F_GETFL) & os.O_NONBLOCK == 0
    os.close(read)
    os.close(written)


def test_a_file_is_appended_to_where_others_append(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ours = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    theirs = os.open(log, os.O_WRONLY | os.O_APPEND)
    write = outlet_of(ours).writer()
    write(b"one\n")
    os.write(theirs, b"two\n")
    write(b"three\n")
    assert log.read_text() == "one\ntwo\nthree\n"
    os.close(ours)
    os.close(theirs)


def test_a_file_is_written_to_where_those_who_share_it_are(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"one\n")
    outlet_of(fd).writer()(b"two\n")
    os.write(fd, b"three\n")
    assert (tmp_path / "log").read_text() == "one\ntwo\nthree\n"
    os.close(fd)


@pytest.mark.parametrize("way", WAYS)
def test_what_an_outlet_opened_is_closed_with_it(way: str) -> None:
    before = os.listdir("/proc/self/fd")
    with ends_of(way) as ends:
        ends.write(LINE)
    gc.collect()
    assert os.listdir("/proc/self/fd") == before


def write_for_ever(fd: int) -> None:
    while True:
        os.write(fd, LINE)


class TestTakeOver:
    @pytest.mark.parametrize("make", [a_pipe, a_terminal])
    def test_nothing_that_this_process_writes_there_waits(self, make: Callable[[], tuple[int, int]]) -> None:
        read, written = make()
        others = os.dup(written)
        before = outlet.take_over(written)
        assert before is not None
        with pytest.raises(BlockingIOError):
            write_for_ever(written)
        for shared in (before, others):  # what children are given, and what others have
            assert fcntl.fcntl(shared, fcntl.F_GETFL) & os.O_NONBLOCK == 0
            assert os.stat(f"/proc/self/fd/{shared}").st_ino == os.fstat(written).st_ino
        for fd in (read, written, others, before):
            os.close(fd)

    def test_what_cannot_be_opened_again_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        of_another_user(monkeypatch)
        (tmp_path / "log").touch()
        for ends in (
            os.pipe(),
            a_socket(),
            (os.open(tmp_path / "log", os.O_RDONLY), os.open(tmp_path / "log", os.O_WRONLY)),
        ):
            assert outlet.take_over(ends[1]) is None
            assert os.write(ends[1], LINE) == len(LINE)
            for fd in ends:
                os.close(fd)


class TestFinish:
    @all_ways
    def test_the_end_of_a_process_is_not_put_off_by_what_nobody_reads(self, ends: Ends) -> None:
        with os.fdopen(os.dup(ends.written), "w") as stream:
            ends.fill()
            stream.write("never read")  # without an end of line, at which a terminal's stream would wait by itself
            outlet.finish(stream, 0)
            stream.write("printed later\n" * 10_000)  # by what the author registered with atexit

    @all_ways
    def test_what_somebody_reads_comes_through(self, ends: Ends) -> None:
        with os.fdopen(os.dup(ends.written), "w") as stream:
            stream.write("the last word\n")
            outlet.finish(stream, 10)
            assert ends.take(14) == b"the last word\n"

    def test_a_reader_that_is_slow_gets_all_of_it(self, ends: Ends) -> None:
        total = ends.fill()
        reader = threading.Thread(target=ends.take, args=(total,))
        with os.fdopen(os.dup(ends.written), "w") as stream:
            stream.write("the last word\n")
            reader.start()
            outlet.finish(stream, 30)
            reader.join()
            assert ends.take(14) == b"the last word\n"

    def test_without_a_reader_it_is_dropped(self, ends: Ends) -> None:
        with os.fdopen(os.dup(ends.written), "w") as stream:
            os.close(ends.read)
            stream.write("never read\n")
            outlet.finish(stream, 10)
        ends.read = os.open(os.devnull, os.O_RDONLY)

    def test_a_file_is_flushed(self, tmp_path: Path) -> None:
        with (tmp_path / "out").open("w") as stream:
            stream.write("printed\n")
            outlet.finish(stream, 0)
            assert (tmp_path / "out").read_text() == "printed\n"

    def test_a_stand_in_of_an_author_s_may_be_anything(self) -> None:
        class Hostile:
            def __getattr__(self, name: str) -> Any:
                raise RuntimeError(name)

        flushed: list[bool] = []

        class Quiet:
            def flush(self) -> None:
                flushed.append(True)

        for stream in (None, Hostile(), Quiet()):
            outlet.finish(stream, 0)  # type: ignore[arg-type] # not what it should be, on purpose
        assert flushed == [True]


def test_anything_else_is_an_outlet_as_it_is() -> None:
    fd = os.open(os.devnull, os.O_WRONLY)
    found = outlet_of(fd)
    assert type(found) is Outlet
    assert (found.writer()(LINE), found.fits(1 << 30), found.wait(1, 0)) == (len(LINE), True, True)
    os.close(fd)
