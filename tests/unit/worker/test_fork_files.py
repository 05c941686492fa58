"""A file is opened again with its own flags, at its own offset, under its own number; or it is left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbd.host import descriptors
from arbd.host.descriptors import Descriptor
from arbd.worker.fork_safety import files


def descriptor(kind: str = "file", flags: int = os.O_RDONLY) -> Descriptor:
    return Descriptor(7, kind, "/x", (1, 2), 1, flags)


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        (os.O_RDONLY, os.O_RDONLY),
        (os.O_RDWR | os.O_APPEND | os.O_NONBLOCK, os.O_RDWR | os.O_APPEND | os.O_NONBLOCK),
        (os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_NOFOLLOW, os.O_WRONLY),
        (os.O_RDONLY | os.O_DIRECTORY, os.O_RDONLY | os.O_DIRECTORY),
        (os.O_RDWR | os.O_DSYNC, os.O_RDWR | os.O_DSYNC),
        (os.O_RDWR | os.O_SYNC, os.O_RDWR | os.O_SYNC),
    ],
)
def test_flags(flags: int, kept: int) -> None:
    assert files.flags_to_reopen(flags) == kept | os.O_CLOEXEC | os.O_NOCTTY


@pytest.mark.parametrize(
    ("kind", "flags", "reopened"),
    [
        ("file", os.O_RDONLY, True),
        ("file", os.O_RDWR, True),
        ("file", os.O_WRONLY | os.O_APPEND, True),
        ("file", os.O_WRONLY, False),  # its one offset keeps the lines of several workers apart
        ("file", os.O_PATH, False),
        ("directory", os.O_RDONLY, True),
        ("directory", os.O_PATH, False),
        ("block", os.O_RDONLY, True),
        ("socket", os.O_RDWR, False),
        ("char", os.O_RDONLY, False),
        ("eventpoll", os.O_RDWR, False),
    ],
)
def test_what_is_opened_again(kind: str, flags: int, reopened: bool) -> None:
    assert files.is_reopened(descriptor(kind, flags)) is reopened


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Descriptor]:
    (tmp_path / "data").write_bytes(b"0123456789")
    number = os.open(tmp_path / "data", os.O_RDWR | os.O_APPEND)
    os.lseek(number, 4, os.SEEK_SET)
    yield next(each for each in descriptors.open_now() if each.number == number)
    try:
        os.close(number)
    except OSError:
        pass


def test_it_has_an_offset_of_its_own_from_now_on(opened: Descriptor) -> None:
    before = os.dup(opened.number)  # as another process that was forked has it
    files.reopen([opened])
    assert os.read(opened.number, 2) == b"45"
    assert os.lseek(before, 0, os.SEEK_CUR) == 4
    assert descriptors.identity_of(opened.number) == opened.identity
    assert not os.get_inheritable(opened.number)
    os.write(opened.number, b"!")
    assert os.pread(before, 20, 0) == b"0123456789!"
    os.close(before)


def test_one_that_children_inherit_stays_so(opened: Descriptor) -> None:
    os.set_inheritable(opened.number, True)
    files.reopen([opened])
    assert os.get_inheritable(opened.number)


def test_one_that_was_deleted(opened: Descriptor) -> None:
    os.unlink(opened.target)
    assert files.cannot_be_reopened(opened) == ""
    files.reopen([opened])
    assert os.read(opened.number, 2) == b"45"


def test_a_number_that_is_another_file_s_by_now(opened: Descriptor, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    other = os.open(tmp_path / "other", os.O_RDONLY)
    os.dup2(other, opened.number)
    os.close(other)
    files.reopen([opened])
    assert os.read(opened.number, 5) == b"other"


def test_one_that_is_closed_by_now(opened: Descriptor) -> None:
    os.close(opened.number)
    files.reopen([opened])
    assert descriptors.identity_of(opened.number) is None


def test_without_a_descriptor_the_worker_must_not_serve(opened: Descriptor, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(files, "_again", full)
    with pytest.raises(OSError, match="Too many"):
        files.reopen([opened])


def test_rights_that_were_dropped(opened: Descriptor, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(path: str, mode: int, **_: bool) -> bool:
        asked.append(mode)
        return False

    monkeypatch.setattr(os, "access", refuse)
    assert files.cannot_be_reopened(opened) == "it may not be opened again"
    assert asked == [os.R_OK | os.W_OK]
