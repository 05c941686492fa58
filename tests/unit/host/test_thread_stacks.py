"""The library that has started a thread is the outermost on its stack that is not of the runtime."""

from __future__ import annotations

import os
import struct
import threading

import pytest

from arbd.host import thread_stacks
from arbd.host.thread_stacks import MappedFile, outermost, stack_pointer

MAPS = """\
1000-2000 r-xp 00000000 08:01 11 /lib/libc.so.6
3000-4000 r-xp 00000000 08:01 12 /site/numpy.libs/libscipy_openblas.so
4000-5000 rw-p 00000000 08:01 12 /site/numpy.libs/libscipy_openblas.so
6000-7000 r-xp 00000000 08:01 13 /site/lib with space.so
8000-9000 rw-p 00000000 00:00 0
9000-a000 r-xp 00000000 00:00 0 [vdso]
"""
FOUND = thread_stacks.mappings(MAPS)


def test_mappings_are_read() -> None:
    assert FOUND[0] == MappedFile(0x1000, 0x2000, True, "/lib/libc.so.6")
    assert [mapping.is_code for mapping in FOUND] == [True, True, False, True, False, True]
    assert [mapping.file for mapping in FOUND][3:] == ["/site/lib with space.so", "", ""]


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ((0x1500, 0x3500, 0x1800), "/site/numpy.libs/libscipy_openblas.so"),
        ((0x3500, 0x6500, 0x1800), "/site/lib with space.so"),
        ((0x4500, 0x8500, 0x9500, 0x1500), ""),  # data, memory, the kernel's, the runtime
        ((), ""),
        ((0, 2**64 - 1), ""),
    ],
)
def test_the_outermost_library(words: tuple[int, ...], file: str) -> None:
    stack = struct.pack(f"{len(words)}Q", *words)
    assert outermost(stack, FOUND) == file
    assert outermost(stack + b"odd", FOUND) == file


@pytest.mark.parametrize(
    ("state", "pointer"),
    [
        ("202 0x1 0x80 0x0 0x0 0x0 0x0 0x7ffe10 0x7f20\n", 0x7FFE10),
        ("-1 0x7ffe10 0x7f20\n", 0x7FFE10),
        ("running\n", 0),
    ],
)
def test_where_a_stack_is(state: str, pointer: int) -> None:
    assert stack_pointer(state) == pointer


def test_a_real_thread() -> None:
    """One of Python's own: all on its stack is of the runtime, or it cannot be told here; either way nothing fails."""
    begun, end = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        end.wait(30)

    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait(30)
    with open("/proc/self/maps") as maps:
        of_process = thread_stacks.mappings(maps.read())
    assert thread.native_id is not None
    assert isinstance(thread_stacks.library_of(thread.native_id, of_process), str)
    end.set()
    thread.join()


def test_a_thread_that_is_gone() -> None:
    assert thread_stacks.library_of(2**22 + 1, FOUND) == ""
    assert os.path.exists("/proc/self/task")
