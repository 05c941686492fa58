"""What the kernel's texts say of locks and shared memory; and only what was not there before is looked at."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from arbd.host import descriptors
from arbd.worker import target
from arbd.worker.fork_safety import look, places, threads
from arbd.worker.fork_safety.look import Before, look_after

LOCKS = """\
1: POSIX  ADVISORY  WRITE 4711 fe:00:131 0 EOF
2: FLOCK  ADVISORY  READ 4711 fe:00:132 0 EOF
2: -> FLOCK  ADVISORY  WRITE 4711 fe:00:133 0 EOF
3: OFDLCK ADVISORY  WRITE -1 fe:00:134 0 EOF
4: POSIX  ADVISORY  WRITE 99 fe:00:135 0 EOF
"""
MAPS = """\
1000-2000 rw-s 00000000 00:01 77 /memfd:shared (deleted)
2000-3000 r--s 00000000 08:01 78 /data/read
3000-4000 rw-p 00000000 08:01 79 /lib/private.so
4000-5000 rw-s 00000000 00:05 80 /dev/shm/pym-1 (deleted)
"""


def test_locks_of_a_process() -> None:
    assert look.locked_files(LOCKS, 4711) == {131, 132, 134}
    assert look.locked_files("", 1) == set()


def test_memory_that_is_shared_and_written() -> None:
    assert look.mapped_files(MAPS) == {77, 80}
    assert look.mapped_files("") == set()


@pytest.fixture(autouse=True)
def _no_author(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "author_modules", dict)
    monkeypatch.setattr(threads, "left", lambda _: [])
    monkeypatch.setattr(look, "_other_modules", dict)


def test_what_was_there_before_is_nobody_s() -> None:
    read_end, write_end = os.pipe()
    after = look_after(Before.look(), {}, "arbd:zygote")
    assert (after.leftovers, after.reopened, after.by_exec) == ([], [], False)
    os.close(read_end)
    os.close(write_end)


def test_what_is_new_is_told_and_opened_again(tmp_path: Path) -> None:
    before = Before.look()
    read_end, write_end = os.pipe()
    (tmp_path / "x").write_text("x")
    file = os.open(tmp_path / "x", os.O_RDONLY)
    after = look_after(before, {}, "arbd:zygote")
    assert [(leftover.kind, len(leftover.found)) for leftover in after.leftovers] == [("pipes", 2)]
    assert [each.number for each in after.reopened] == [file]
    for number in (read_end, write_end, file):
        os.close(number)


def test_a_number_that_is_something_else_now(tmp_path: Path) -> None:
    number = os.open("/", os.O_RDONLY)
    before = Before.look()
    ends = os.pipe()
    os.dup2(ends[0], number)
    after = look_after(before, {}, "arbd:zygote")
    assert len(after.leftovers[0].found) == 3
    for each in (number, *ends):
        os.close(each)


def test_what_is_arbd_s_own_is_not_the_author_s(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Before.look()
    own, tracker = os.memfd_create("arbd-reserve"), os.pipe()
    module = ModuleType("tracker")
    vars(module)["_resource_tracker"] = type("Tracker", (), {"_fd": tracker[1]})()
    monkeypatch.setitem(sys.modules, "multiprocessing.resource_tracker", module)
    after = look_after(before, {}, "arbd:zygote")
    assert [leftover.found for leftover in after.leftovers] == [
        [f"a pipe (descriptor {tracker[0]}, held by no name that was found)"]
    ]
    for each in (own, *tracker):
        os.close(each)


def test_where_nothing_can_be_looked_at_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Before.look()

    def full() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(descriptors, "open_now", full)
    assert look_after(before, {}, "arbd:zygote").leftovers == []


def test_an_object_that_breaks_whoever_looks_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is missing then, and the warning is there; and the module is loaded."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("do not look")

    monkeypatch.setattr(places, "walk", broken)
    before = Before.look()
    ends = os.pipe()
    after = look_after(before, {}, "arbd:zygote")
    assert [leftover.kind for leftover in after.leftovers] == ["pipes"]
    assert after.generators == ([], [], [])
    for each in ends:
        os.close(each)
