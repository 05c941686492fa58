"""The pages of an author's metrics: one for each worker that is there at the same time, kept whole for the next."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from arbd.host import memory
from arbd.ipc import author_page
from arbd.ipc.author_page import AuthorPageReader
from arbd.supervisor.author_pages import AuthorPages


@pytest.fixture
def pages() -> Iterator[AuthorPages]:
    pages = AuthorPages(10)
    yield pages
    pages.close()


def test_a_page_is_a_worker_s_while_it_lives_and_then_the_next_one_s(pages: AuthorPages) -> None:
    told: list[tuple[int, int]] = []
    pages.on_new = lambda number, fd: told.append((number, fd))
    first, second = pages.take(1), pages.take(2)
    assert first != second
    assert told == [(0, first), (1, second)]
    pages.give_back(1)
    assert pages.take(3) == first
    assert [words[author_page.OWNER] for words in pages.words()] == [3, 2]
    assert pages.descriptors == [first, second]
    pages.give_back(99)  # one that never had any


def test_what_a_worker_has_ruined_is_whole_for_the_next(pages: AuthorPages) -> None:
    pages.take(1)
    (words,) = pages.words()
    words[author_page.MAGIC] = words[author_page.LIMIT] = 2**63
    pages.give_back(1)
    pages.take(2)
    assert AuthorPageReader(words).limit == 10


def test_whoever_maps_the_descriptor_sees_the_page(pages: AuthorPages) -> None:
    mapping = memory.attach(pages.take(1))
    assert memory.words_of(mapping)[author_page.OWNER] == 1
    assert os.fstat(pages.descriptors[0]).st_size == author_page.page_bytes(10)


@pytest.mark.parametrize("what", ["create", "attach"])
def test_without_memory_for_one_there_is_nothing_of_it(
    pages: AuthorPages, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fails(*_: object) -> int:
        raise OSError("no memory")

    before = sorted(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(memory, what, fails)
        with pytest.raises(OSError, match="no memory"):
            pages.take(1)
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert pages.descriptors == []
    pages.take(1)
    assert len(pages.descriptors) == 1


def test_closing_gives_every_descriptor_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    pages = AuthorPages(10)
    pages.take(1)
    pages.take(2)
    pages.close()
    assert len(os.listdir("/proc/self/fd")) == before
