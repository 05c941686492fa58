"""A record that is replaced in place is the one before or the one after, whatever happens in between."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.host.record import RecordFile


class Died(Exception):
    """Whoever wrote is no more."""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[RecordFile]:
    file = RecordFile(os.open(tmp_path / "record", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC))
    yield file
    file.close()


def test_a_new_file_has_none(file: RecordFile) -> None:
    assert (file.read(), file.is_empty()) == (None, True)


@given(records=st.lists(st.binary(max_size=300), min_size=1, max_size=20))
def test_the_last_one_counts_and_the_file_stays_small(records: list[bytes]) -> None:
    fd = os.memfd_create("record")
    file = RecordFile(fd)
    for record in records:
        file.write(record)
        assert file.read() == record
    assert not file.is_empty()
    assert os.fstat(fd).st_size <= 128 + 3 * max(map(len, records))
    file.close()


@pytest.mark.parametrize("before", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [0, 10, 5000])
def test_who_dies_at_any_byte_leaves_the_one_before(
    file: RecordFile, before: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(before):
        file.write(b"%d" % number * 1000)
    found = file.read()
    pwrite = os.pwrite
    for allowed in (*range(0, 200, 7), *range(200, 6000, 501)):
        left = allowed

        def torn(fd: int, data: bytes, offset: int) -> int:
            nonlocal left
            written = pwrite(fd, bytes(data)[:left], offset)
            left -= written
            if not left:
                raise Died
            return written

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", torn)
            try:
                file.write(b"n" * size)
            except Died:
                assert file.read() in (found, b"n" * size)
                found = file.read()
    file.write(b"after")
    assert file.read() == b"after"


@pytest.mark.parametrize("room", [0, 50, 2000, 2050, 2081])
def test_a_full_disk_leaves_the_one_before(file: RecordFile, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write(b"before" * 100)
    pwrite = os.pwrite
    left = room

    def full(fd: int, data: bytes, offset: int) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = pwrite(fd, bytes(data)[:left], offset)
        left -= written
        return written

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        file.write(b"after" * 410)
    assert file.read() == b"before" * 100
    left = 1 << 20
    file.write(b"after")
    assert file.read() == b"after"


def test_a_disk_that_takes_nothing_and_says_nothing_is_full(file: RecordFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with pytest.raises(OSError, match="No space left"):
        file.write(b"x")


NOISE = Random(1).randbytes(4096)


@pytest.mark.parametrize(
    "content",
    [b"\0" * 500, b"\xff" * 500, b"\x81\xa4boot\xa1x", b"x", NOISE],
    ids=["zeros", "ones", "cut", "short", "noise"],
)
def test_what_is_no_record_is_none_and_can_be_replaced(file: RecordFile, content: bytes) -> None:
    os.pwrite(file.fd, content, 0)
    assert (file.read(), file.is_empty()) == (None, False)
    for number in range(3):
        file.write(b"%d" % number)
        assert file.read() == b"%d" % number


def test_a_record_that_was_changed_is_none(file: RecordFile) -> None:
    file.write(b"one")
    os.pwrite(file.fd, b"0ne", 128)
    assert file.read() is None


def test_a_file_that_was_cut_has_none(file: RecordFile) -> None:
    file.write(b"one" * 100)
    for size in (300, 128, 64, 10):
        os.ftruncate(file.fd, size)
        assert file.read() is None
