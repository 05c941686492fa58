"""A registry of the test's own, in place of the one of the process."""

from __future__ import annotations

import pytest

from arbd.ipc import author_page
from arbd.ipc.author_page import AuthorPageReader
from arbd.metrics import instruments
from arbd.metrics.registry import Registry


def a_page(limit: int = 100) -> memoryview:
    words = memoryview(bytearray(author_page.page_bytes(limit))).cast("Q")
    author_page.begin(words, limit)
    return words


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    own = Registry(a_page())
    monkeypatch.setattr(instruments, "REGISTRY", own)
    return own


def seen(words: memoryview) -> dict[tuple[str, ...], list[float]]:
    """The values of every series in a page, by name and labels."""
    reader = AuthorPageReader(words)
    found = [each for each in reader.news() if each.labelvalues is not None]
    values = reader.values()
    return {
        (each.definition.name, *(each.labelvalues or ())): list(values[each.at : each.at + each.definition.cells])
        for each in found
    }
