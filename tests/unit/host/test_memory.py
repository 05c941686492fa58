"""Shared memory cannot change its size, and a parcel is read whole, once, and only if it is not too large."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.host import memory


def is_closed(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError as error:
        return error.errno == errno.EBADF
    return False


@pytest.mark.parametrize("size", [0, 4095, 4097, 1 << 20])
def test_nobody_can_change_the_size(size: int) -> None:
    """A mapping of a memory that shrinks would kill its reader with SIGBUS."""
    fd = memory.create("test", 4096)
    try:
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
        assert os.fstat(fd).st_size == 4096
    finally:
        os.close(fd)


def test_nobody_can_grow_it_by_writing_either() -> None:
    fd = memory.create("test", 4096)
    try:
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 4096)
    finally:
        os.close(fd)


def test_memory_begins_as_zeros_and_has_no_name_in_any_file_system() -> None:
    fd = memory.create("test", 8192)
    try:
        assert os.pread(fd, 10_000, 0) == bytes(8192)
        assert os.readlink(f"/proc/self/fd/{fd}") == "/memfd:test (deleted)"
        assert os.fstat(fd).st_nlink == 0
    finally:
        os.close(fd)


def test_descriptors_are_closed_on_exec() -> None:
    fds = [memory.create("test", 8), memory.create_parcel((b"x",))]
    assert [os.get_inheritable(fd) for fd in fds] == [False, False]
    for fd in fds:
        os.close(fd)


def test_two_mappings_see_each_other_s_stores() -> None:
    fd = memory.create("test", 4096)
    one, other = memory.attach(fd), memory.attach(fd)
    os.close(fd)  # mappings stay
    words, seen = memory.words_of(one), memory.words_of(other)
    words[511] = 2**64 - 1
    assert (len(words), seen[511], seen[510]) == (512, 2**64 - 1, 0)
    other[0:3] = b"abc"
    assert one[0:4] == b"abc\0"


def test_a_size_that_cannot_be_leaves_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what is asked for
        memory.create("test", -1)
    assert caught.value.errno == errno.EINVAL
    assert os.listdir("/proc/self/fd") == before


@given(parts=st.lists(st.binary(max_size=100), max_size=5), spare=st.integers(0, 3))
def test_a_parcel_holds_its_parts_one_after_the_other(parts: list[bytes], spare: int) -> None:
    fd = memory.create_parcel(tuple(parts))
    body = b"".join(parts)
    assert memory.read_parcel(fd, limit=len(body) + spare) == body
    assert is_closed(fd)


def test_a_large_parcel() -> None:
    parts = (b"a" * 5_000_000, b"", b"b" * 3_000_000)
    assert memory.read_parcel(memory.create_parcel(parts), limit=8_000_000) == b"".join(parts)


def test_a_parcel_of_more_than_one_read_gives_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel reads 2 GiB at most; a parcel above that used to be cut short without a word."""
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: real(fd, min(size, 1_000), at))
    body = bytes(range(256)) * 20
    assert memory.read_parcel(memory.create_parcel((body,)), limit=len(body)) == body


def test_no_memory_for_a_parcel_is_an_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: int) -> bytes:
        raise MemoryError

    fd = memory.create_parcel((b"12345",))
    monkeypatch.setattr(os, "pread", no_memory)
    with pytest.raises(OSError, match="no memory for a parcel of 5 bytes"):
        memory.read_parcel(fd, limit=5)
    assert is_closed(fd)


def test_a_parcel_larger_than_allowed_is_refused_and_closed() -> None:
    fd = memory.create_parcel((b"12345",))
    with pytest.raises(ValueError, match="a parcel of 5 bytes is larger than the 4 that are allowed"):
        memory.read_parcel(fd, limit=4)
    assert is_closed(fd)


def test_a_parcel_that_shrinks_while_it_is_read_just_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    fd = memory.create_parcel((b"12345",))
    real = os.fstat

    def then_shrink(fd: int) -> os.stat_result:
        found = real(fd)
        os.ftruncate(fd, 2)
        return found

    monkeypatch.setattr(os, "fstat", then_shrink)
    assert memory.read_parcel(fd, limit=5) == b"12"


def test_what_is_no_descriptor_is_an_error() -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what is asked for
        memory.read_parcel(1_000_000, limit=1)
    assert caught.value.errno == errno.EBADF


def test_a_parcel_is_a_plain_file_without_a_name() -> None:
    fd = memory.create_parcel((b"x",))
    found = os.fstat(fd)
    os.close(fd)
    assert (stat.S_ISREG(found.st_mode), found.st_nlink) == (True, 0)
