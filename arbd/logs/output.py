"""The output of log lines: whole lines to a descriptor, or lines lost and counted, and a bounded wait for its reader.

    line ─> something pending? ──no──> write ──it went out──> done
              │                           └─no room─> wait, while wait is left ─> again, or lost
              └─yes─> the rest of a line, a notice of what was lost, this line ─> the same

Not what is in a line (``arbd.logs.format``), and not how to write without waiting (``arbd.host.outlet``). Invariants:

* what one process writes is whole lines, one after the other: the rest of a line that went out in part goes out before
  anything else;
* a reader that stalls costs the wait that is left, once, and then a look at each line; one that is merely slow, at
  most ``_SHARE`` of the time;
* every line that is dropped is counted when it is dropped, and the next one that goes out tells how many they were.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable
from threading import RLock
from typing import Any, Final, TextIO

from arbd.host.outlet import Outlet

MAX_WAIT_S: Final = 0.005  # of a process that holds everybody's deadlines
_SHARE: Final = 0.05  # the wait that is left grows back so much slower than time passes
_MOST_LOST: Final = 1 << 53  # the counter is within an author's reach; whatever it claims is a number that can be shown


class LossCounter:
    """How many log lines this process has lost, or all processes that count on one eventfd, ``fd``."""

    def __init__(self) -> None:
        self.fd: int | None = None
        self._count = 0

    def share(self) -> None:
        """Count together with the children that are given ``fd``; alone where no descriptor is to be had."""
        try:
            self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError:
            pass

    def add(self) -> None:
        """Count one more."""
        try:
            if self.fd is not None:
                os.eventfd_write(self.fd, 1)
                return
        except OSError:
            pass
        self._count += 1

    def total(self) -> int:
        """All that were counted so far; takes what the others have counted."""
        if self.fd is not None:
            try:
                self._count = min(self._count + os.eventfd_read(self.fd), _MOST_LOST)
            except OSError:  # BlockingIOError: nothing new
                pass
        return self._count


class LineOutput:
    """Lines to an outlet. ``notice``: the line that tells how many were lost; ``on_lost``: called for each.

    It may be used by several threads and from signal handlers, and be left by what those raise: the soft deadline of a
    task may strike at any point of it.
    """

    def __init__(
        self,
        outlet: Outlet,
        notice: Callable[[int], bytes],
        on_lost: Callable[[], object],
        max_wait_s: float = MAX_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outlet = outlet
        self._writer = outlet.writer()
        self._atomic = outlet.atomic
        self._notice = notice
        self._on_lost = on_lost
        self._clock = clock
        self.limit_wait(max_wait_s)
        self.after_fork()

    def limit_wait(self, seconds: float) -> None:
        """Set how long to wait for a reader in all, before it is one that stalls."""
        self._max_wait_s = self._left_s = seconds
        self._left_at = self._clock()

    def after_fork(self) -> None:
        """Begin anew in a child: what is pending is the parent's, and so is a lock that another thread of it held."""
        self._lock = RLock()
        self._tail = b""  # of a line that went out in part
        self._lost = 0  # lines, and nobody was told
        self._is_torn = False  # a write was left before it was known how much went out
        self._is_stalled = False
        self._at_once = self._atomic  # the longest line that goes out without a further look; 0: something is pending

    def write(self, line: bytes) -> None:
        """Write a line, or drop it and count it."""
        size = len(line)
        # Without the lock, which would cost as much as the write. That is safe because such a write is all or nothing,
        # but for one moment: a thread that has looked here may write after another has begun a line it cannot finish.
        written = 0
        if size <= self._at_once:
            try:
                written = self._writer(line)
            except OSError:
                pass
            if written == size:
                return
        with self._lock:
            self._at_once = 0
            try:
                if written:  # to a file on a disk that is full
                    self._tail = line[written:]
                else:
                    self._write_late(line)
            finally:
                self._note_pending()

    def flush(self, seconds: float) -> None:
        """Wait so long for what is pending to go out: at the end of a process, when nothing waits for it any more."""
        with self._lock:
            self._left_s, self._left_at = max(self._left_s, seconds), self._clock()
            self._is_stalled = False
            try:
                if self._settle() and self._lost and self._begin(self._notice(self._lost)):
                    self._lost = 0
                    self._settle()
            finally:
                self._note_pending()

    def _note_pending(self) -> None:
        self._at_once = 0 if self._tail or self._lost or self._is_torn else self._atomic

    def _write_late(self, line: bytes) -> None:
        has_begun = False
        try:
            has_begun = self._write_after_pending(line)
        finally:
            if not has_begun:
                self._lose()
        if has_begun:
            self._settle()

    def _write_after_pending(self, line: bytes) -> bool:
        """Whether this line, or its beginning, went out."""
        if self._is_stalled and not self._outlet.wait(0, 0):
            return False  # one call of the kernel for each line that is lost
        if not self._settle():
            return False
        # Both or none: a reader that takes a line now and then would be told of losses, and of nothing else.
        if not self._begin(self._notice(self._lost) + line if self._lost else line):
            return False
        self._lost = 0
        return True

    def _settle(self) -> bool:
        """Write the rest of an earlier line; whether all of it is out."""
        if self._is_torn:
            self._is_torn = False
            self._tail = b"\n"  # nobody knows how much of that line went out: whatever follows is not part of it
            self._lose()
        while self._tail:
            if not self._put(self._tail) and not self._wait(1):
                return False
        return True

    def _begin(self, line: bytes) -> bool:
        """Write a line, or its beginning; ``False``: nothing of it."""
        size = len(line)
        while not ((size <= self._atomic or self._outlet.fits(size)) and self._put(line)):
            if not self._wait(size):
                return False
        return True

    def _put(self, data: bytes) -> bool:
        """Write once; whether anything went out. What did not is the tail."""
        self._is_torn = len(data) > self._atomic
        try:
            written = self._writer(data)
        except BlockingIOError:
            written = 0
        except OSError:
            written = 0
            self._is_stalled = True  # a full disk, or a reader that went away: there is nothing to wait for
        self._is_torn = False
        if not written:
            return False
        self._tail = data[written:]
        self._is_stalled = False
        return True

    def _wait(self, size: int) -> bool:
        """Wait for room, while wait is left; whether to try again."""
        if self._is_stalled:
            return False
        now = self._clock()
        if self._left_s < self._max_wait_s:
            self._left_s = min(self._max_wait_s, self._left_s + (now - self._left_at) * _SHARE)
        self._left_at = now
        if self._left_s <= 0:
            return False
        try:
            has_room = self._outlet.wait(size, self._left_s)
        finally:
            self._left_at = self._clock()
            self._left_s -= self._left_at - now
        self._is_stalled = not has_room
        return has_room

    def _lose(self) -> None:
        self._lost += 1
        self._on_lost()


class StreamOutput:
    """Lines to a stream that has no descriptor, as tests have; or, without one, to whatever standard error is then."""

    def __init__(self, on_lost: Callable[[], object], stream: TextIO | None = None) -> None:
        self._on_lost = on_lost
        self._stream = stream

    def write(self, line: bytes) -> None:
        """Write a line, or drop it and count it."""
        stream = self._stream or sys.stderr
        try:
            stream.write(line.decode())
            stream.flush()
        except (OSError, ValueError, AttributeError):  # a full disk; a closed stream; there is none
            self._on_lost()


class NoOutput:
    """An output that drops every line."""

    def write(self, line: bytes) -> None:
        """Drop a line, and do not count it."""


class LineStream(io.TextIOWrapper):
    """A text stream over a ``LineOutput``, to stand in for ``sys.stderr``: for tracebacks and whatever else is printed
    there. ``fd``: what it is the descriptor of, for those who ask."""

    def __init__(self, lines: LineOutput, fd: int, like: TextIO) -> None:
        self.lines = lines
        super().__init__(_Raw(lines, fd), like.encoding, like.errors, line_buffering=True)  # type: ignore[arg-type] # takes a raw one


class _Raw(io.RawIOBase):
    def __init__(self, lines: LineOutput, fd: int) -> None:
        self._lines = lines
        self._fd = fd

    def write(self, data: Any) -> int:
        text = bytes(data)
        self._lines.write(text)
        return len(text)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def fileno(self) -> int:
        return self._fd
