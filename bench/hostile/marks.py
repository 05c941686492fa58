"""Marks: lines in which actions note what they do, in a file of each process.

    ready   0       PID SLOT TIME    a worker is about to serve
    began   NUMBER  PID SLOT TIME    a task was begun
    ended   NUMBER  PID SLOT TIME    its action has done its work

They go through a mapping, not a descriptor: an action that closes everything cannot close it, and one that has opened
everything can still write. A forked child gets a file of its own. Times are nanoseconds of the monotonic clock.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_BYTES: Final = 1 << 20  # of a file: sparse
_LONGEST: Final = 80


class Mark(NamedTuple):
    """One line."""

    word: str
    number: int
    pid: int
    slot: str
    at_ns: int


class Writer:
    """The marks of one process, wherever it was forked from."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pid = 0
        self._slot = ""
        self._files = 0
        self._at = 0
        self._mapping: mmap.mmap

    def mark(self, word: str, number: int = 0) -> None:
        """Note something."""
        pid = os.getpid()
        if pid != self._pid:
            self._pid, self._files = pid, 0
            self._slot = Path("/proc/self/comm").read_text().strip().rpartition(":")[2]
            self._open()
        elif self._at > _BYTES - _LONGEST:
            self._open()
        line = f"{word} {number} {pid} {self._slot} {time.monotonic_ns()}\n".encode()
        self._mapping[self._at : self._at + len(line)] = line
        self._at += len(line)

    def _open(self) -> None:
        with (self._directory / f"{self._pid}-{self._files}").open("xb+") as file:
            file.truncate(_BYTES)
            self._mapping = mmap.mmap(file.fileno(), _BYTES)
        self._files += 1
        self._at = 0


def read(directory: Path) -> Iterator[Mark]:
    """All marks of all processes, in no order."""
    for file in directory.iterdir():
        for line in file.read_bytes().rstrip(b"\0").decode().splitlines():
            word, number, pid, slot, at_ns = line.split(" ")
            yield Mark(word, int(number), int(pid), slot, int(at_ns))
