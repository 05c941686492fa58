"""What this process holds is seen; of one that is not there nothing is."""

from __future__ import annotations

import errno
import mmap
import os

import pytest

from arbd.host import footprint

NOBODY = 2**22 + 1  # above the largest number that Linux gives


def test_memory_that_is_touched_counts() -> None:
    before = footprint.rss_of(os.getpid())
    with mmap.mmap(-1, 32 << 20) as held:
        for at in range(0, len(held), mmap.PAGESIZE):
            held[at] = 1
        after = footprint.rss_of(os.getpid())
    assert before is not None
    assert after is not None
    assert 30 << 20 < after - before < 64 << 20


def test_descriptors_are_counted() -> None:
    before = footprint.descriptors_of(os.getpid())
    ends = os.pipe()
    after = footprint.descriptors_of(os.getpid())
    for fd in ends:
        os.close(fd)
    assert before is not None
    assert after == before + 2


@pytest.mark.parametrize("look", [footprint.rss_of, footprint.descriptors_of, footprint.private_of])
def test_one_that_is_not_there_holds_nothing_that_can_be_told(look: object) -> None:
    assert callable(look)
    assert look(NOBODY) is None


def test_ones_own_memory_is_seen_though_its_file_is_gone() -> None:
    own = footprint.OwnMemory()
    before = own.read()
    assert abs(before - (footprint.rss_of(os.getpid()) or 0)) < 8 << 20
    with mmap.mmap(-1, 32 << 20) as held:
        for at in range(0, len(held), mmap.PAGESIZE):
            held[at] = 1
        assert 30 << 20 < own.read() - before < 64 << 20
    os.close(own.fd)
    assert abs(own.read() - before) < 8 << 20


def test_ones_own_memory_is_seen_without_a_descriptor_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", _no_descriptor)
        own = footprint.OwnMemory()
    assert own.fd == -1
    assert own.read() > 0


def _no_descriptor(*_: object) -> int:
    raise OSError(errno.EMFILE, "Too many open files")


def test_memory_of_its_own_counts_and_what_is_shared_does_not() -> None:
    before = footprint.private_of(os.getpid())
    with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        for at in range(0, len(held), mmap.PAGESIZE):
            held[at] = 1
        after = footprint.private_of(os.getpid())
    assert before is not None
    assert after is not None
    assert 30 << 20 < after - before < 64 << 20
