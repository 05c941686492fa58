"""Writing to a descriptor that other processes hold as well, without ever waiting for whoever reads it.

``O_NONBLOCK`` belongs to the open file, not to the descriptor: set on standard error, it would hold for every process
that shares it, and break those that do not expect it. What does the same depends on what the descriptor is::

    pipe, FIFO, terminal          an open file of our own, opened again through /proc, with ``O_NONBLOCK``
    pipe of another user          cannot be opened again: ``RWF_NOWAIT`` with each write; before Linux 6.4, pages are
                                  moved to it from a pipe of our own (``splice``)
    socket                        ``RWF_NOWAIT``; before Linux 6.4, ``MSG_DONTWAIT``
    terminal of another user      a little at a time, and only while it says that it has room
    file, or anything else        as it is: a file has no reader. A slow disk is waited for

The terminal of another user is the one gap: one that stops with room for less than ``_LITTLE`` bytes makes the writer
wait.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import io
import os
import select
import socket
import stat
import struct
import termios
import time
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Final, TextIO
from weakref import finalize

ATOMIC: Final = select.PIPE_BUF  # bytes that go out whole or not at all, whoever else writes
_PAGE: Final = 4096
_LITTLE: Final = 256  # a terminal says that it can be written to when it has room for so much, or has so much to show
_STEP_S: Final = 0.001  # a pipe tells nobody that it has room for more than one page
_OPEN_AGAIN: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

# What an older kernel, a sandbox or a filter of system calls answers.
_NOT_HERE: Final = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.ESPIPE)

# Not a socket object: under socket.setdefaulttimeout, which an author's module may call, making one sets O_NONBLOCK.
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_libc.send.restype = ctypes.c_ssize_t


class Outlet:
    """A descriptor, written to as it is. ``atomic``: so many bytes go out whole, or not at all.

    What it opened is closed when it is not used any more; its ``writer`` does not count as use.
    """

    atomic = ATOMIC

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def writer(self) -> Callable[[bytes], int]:
        """A function that writes, and returns how many bytes went out. ``BlockingIOError``: none, there is no room;
        another ``OSError``: none, for another reason."""
        return partial(os.write, self.fd)

    def fits(self, size: int) -> bool:
        """Whether so many bytes go out in one piece, as far as can be told."""
        return True

    def wait(self, size: int, seconds: float) -> bool:
        """Wait until there may be room for so many bytes; whether there may be. Not where nobody can read them."""
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return [events for _, events in poll.poll(seconds * 1000)] == [select.POLLOUT]


class _Asked(Outlet):
    """A descriptor of which the kernel is asked, with each write, not to wait."""

    _is_asked = True

    def writer(self) -> Callable[[bytes], int]:
        return self._write

    def _write(self, data: bytes) -> int:
        if self._is_asked:
            try:
                return os.pwritev(self.fd, (data,), -1, os.RWF_NOWAIT)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
            self._is_asked = False
        return self._write_otherwise(data)

    @abstractmethod
    def _write_otherwise(self, data: bytes) -> int:
        """The same where the kernel, or a filter of system calls, does not know how to be asked."""


class _Pipe(Outlet):
    """A pipe: whether something fits into it, and the wait for room, however it is written to."""

    bytes_of_a_page = _PAGE // 2  # at least, on average: a write begins a page where the last one has no room for it

    def fits(self, size: int) -> bool:
        """Whether the pipe has room for all of it: more than a page goes out in pieces otherwise, and others may write
        in between. A pipe is a number of pages; it tells how many bytes are in it, not in how many of them. What it
        cannot hold at all has to go out in pieces."""
        if size <= ATOMIC:
            return True
        free = _pages_for(self.fd, size) - _used_pages(_bytes_in(self.fd), self.bytes_of_a_page)
        return free >= size // _PAGE + 2 or not _bytes_in(self.fd)

    def wait(self, size: int, seconds: float) -> bool:
        if self.fits(size) or not super().wait(size, 0):
            return super().wait(size, seconds)
        time.sleep(min(seconds, _STEP_S))
        return seconds > 0


class _OwnPipe(_Pipe):
    """A pipe that could be opened again."""

    def __init__(self, fd: int) -> None:
        super().__init__(_open_again(fd))
        finalize(self, os.close, self.fd)


class _OwnTerminal(Outlet):
    """A terminal that could be opened again."""

    atomic = 0

    def __init__(self, fd: int) -> None:
        super().__init__(_open_again(fd))
        finalize(self, os.close, self.fd)


class _PipeOfAnother(_Asked, _Pipe):
    """A pipe of another user, as a daemon has that was started by a supervisor of the system."""

    _out = _in = -1
    _is_empty = True

    def _write_otherwise(self, data: bytes) -> int:
        """Move a page from a pipe of our own. Each write takes a page, so the pipe holds fewer lines."""
        if self._in < 0:
            self._make_own_pipe()
        if not self._is_empty:  # there was no room for what is in there, or a signal's handler has raised
            self._drain()
        self._is_empty = False
        ready = os.write(self._in, data)
        moved = os.splice(self._out, self.fd, ready, flags=os.SPLICE_F_NONBLOCK)
        self._is_empty = moved == ready
        return moved

    def _make_own_pipe(self) -> None:
        self.bytes_of_a_page = 100  # there is hardly a shorter line with a time stamp in it
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        finalize(self, os.close, self._in)
        finalize(self, os.close, self._out)

    def _drain(self) -> None:
        try:
            while os.read(self._out, 65536):
                pass
        except BlockingIOError:
            pass


class _TerminalOfAnother(Outlet):
    """A terminal that must not be opened again, as after ``su``."""

    atomic = 0

    def writer(self) -> Callable[[bytes], int]:
        return self._write

    def _write(self, data: bytes) -> int:
        if not self.wait(0, 0):
            raise BlockingIOError(errno.EAGAIN, "the terminal has no room")
        return os.write(self.fd, data[:_LITTLE])


class _Socket(_Asked):
    """A socket, such as the journal's."""

    def _write_otherwise(self, data: bytes) -> int:
        sent: int = _libc.send(self.fd, data, len(data), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if sent < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return sent


def outlet_of(fd: int) -> Outlet:
    """The outlet for what this descriptor is now. Raises ``OSError`` if it is none."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return _first(fd, _OwnPipe, _PipeOfAnother)
    if stat.S_ISSOCK(mode):
        return _Socket(fd)
    return _first(fd, _OwnTerminal, _TerminalOfAnother) if os.isatty(fd) else Outlet(fd)


def take_over(fd: int) -> int | None:
    """Put an open file of our own in the place of this descriptor, where that can be had: then nothing that this
    process writes to it waits, not even a library in C. What was there, for children, who expect it; ``None`` if
    nothing was changed."""
    try:
        if not _can_wait(fd):
            return None
        own = _open_again(fd)
        try:
            before = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
            os.dup2(own, fd)
        finally:
            os.close(own)
    except OSError:
        return None
    return before


def finish(stream: TextIO | None, seconds: float) -> None:
    """Flush a stream at the end of the process, in a bounded time, and have nothing wait for its reader afterwards.

    What finds no room in that time is dropped.
    """
    try:
        fd = _descriptor_of(stream)
        if fd is not None and _can_wait(fd):
            assert stream is not None
            _finish(stream, fd, seconds)
        elif stream is not None:
            stream.flush()
    except Exception:
        pass  # it is closed; or a stand-in of an author's, which may raise anything


def _descriptor_of(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _finish(stream: TextIO, fd: int, seconds: float) -> None:
    before = take_over(fd)
    if before is not None:
        os.close(before)
        if _flush(stream, fd, seconds):
            return
    elif Outlet(fd).wait(0, seconds) and outlet_of(fd).fits(io.DEFAULT_BUFFER_SIZE) and _flush(stream, fd, 0):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, fd)
    os.close(nowhere)
    _flush(stream, fd, 0)


def _flush(stream: TextIO, fd: int, seconds: float) -> bool:
    give_up_at = time.monotonic() + seconds
    while True:
        try:
            stream.flush()
            return True
        except BlockingIOError:
            if not Outlet(fd).wait(0, max(0.0, give_up_at - time.monotonic())):
                return False
        except OSError:
            return False  # nobody will ever read it


def _can_wait(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


def _open_again(fd: int) -> int:
    return os.open(f"/proc/self/fd/{fd}", _OPEN_AGAIN)


def _first(fd: int, own: type[Outlet], other: type[Outlet]) -> Outlet:
    try:
        return own(fd)
    except OSError:  # not ours to open; no /proc; or nobody reads it at this moment
        return other(fd)


def _used_pages(size: int, bytes_of_a_page: int) -> int:
    """How many pages hold so many bytes, at most: of the first one something may have been read."""
    return size // bytes_of_a_page + 2 if size else 0


def _pages_for(pipe: int, size: int) -> int:
    """How many pages a pipe has; one that is too small for so many bytes is made larger first, where it can be."""
    capacity = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    wanted = size + 4 * _PAGE
    if wanted > capacity:
        try:
            capacity = fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, wanted)
        except OSError:
            pass  # more than 1 MiB, or more than this user may have in all his pipes
    return capacity // _PAGE


def _bytes_in(pipe: int) -> int:
    found = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int(struct.unpack("i", found)[0])
