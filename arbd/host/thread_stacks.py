"""Whose a native thread of this process is: the shared library that its stack leads to.

A thread that sleeps in a system call tells where its stack is (``/proc/self/task/N/syscall``). The words on it that are
addresses of code are, with some noise, its chain of calls; the library at the outer end has started it. Few libraries
name their threads, so this is often all that can be known. A thread that runs at this moment tells nothing.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect
from typing import Final, NamedTuple

_MOST: Final = 64 * 1024  # bytes of a stack; threads that wait for work have some 5 KiB
#: What every thread goes through.
_RUNTIME: Final = (
    "libc.",
    "libc-",
    "libpthread",
    "libstdc++",
    "libgcc_s",
    "ld-linux",
    "ld-musl",
    "libpython",
    "python",
)


class MappedFile(NamedTuple):
    """A line of ``/proc/self/maps``."""

    start: int
    end: int
    is_code: bool
    file: str


def mappings(maps: str) -> list[MappedFile]:
    """The mappings of a process, by address."""
    found = []
    for line in maps.splitlines():  # which is in order
        words = line.split(maxsplit=5)
        start, _, end = words[0].partition("-")
        file = words[5] if len(words) > 5 and words[5].startswith("/") else ""
        found.append(MappedFile(int(start, 16), int(end, 16), "x" in words[1], file))
    return found


def library_of(tid: int, of_process: list[MappedFile]) -> str:
    """The file of the library that has started a thread; empty: it cannot be told."""
    try:
        with open(f"/proc/self/task/{tid}/syscall", encoding="ascii") as state:
            pointer = stack_pointer(state.read())
        stack = _mapping_at(pointer, of_process)
        if stack is None:
            return ""
        memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return outermost(os.pread(memory, min(stack.end - pointer, _MOST), pointer), of_process)
        finally:
            os.close(memory)
    except (OSError, OverflowError):  # it has ended, or this kernel does not tell
        return ""


def stack_pointer(state: str) -> int:
    """Where the stack of a thread is, of what its ``syscall`` says; 0: that says nothing."""
    words = state.split()
    return int(words[-2], 16) if len(words) >= 3 else 0


def outermost(stack: bytes, of_process: list[MappedFile]) -> str:
    """The file of the last code on a stack that is not of the runtime."""
    whole = stack[: len(stack) // 8 * 8]
    found = ""
    for (word,) in struct.iter_unpack("Q", whole):
        mapping = _mapping_at(word, of_process)
        if mapping is not None and mapping.is_code and mapping.file and not _is_runtime(mapping.file):
            found = mapping.file
    return found


def _is_runtime(file: str) -> bool:
    return os.path.basename(file).startswith(_RUNTIME)


def _mapping_at(address: int, of_process: list[MappedFile]) -> MappedFile | None:
    at = bisect(of_process, address, key=lambda mapping: mapping.start) - 1
    return of_process[at] if at >= 0 and address < of_process[at].end else None
