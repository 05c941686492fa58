"""Changes of Python files beside the author's sources are told by their names, and where to look is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from arbd.supervisor import sources as module


class Watched:
    """In place of ``watchfiles.awatch``: what it was asked to watch, and the changes that it tells."""

    def __init__(self, *batches: set[tuple[int, str]]) -> None:
        self.batches = list(batches)
        self.asked: list[set[str]] = []

    async def awatch(self, *directories: Any, **_: Any) -> AsyncIterator[set[tuple[int, str]]]:
        self.asked.append({str(each) for each in directories})
        for batch in self.batches:
            self.batches = self.batches[1:]
            yield batch
        raise OSError(28, "No space left on device")


def told(watched: Watched, monkeypatch: pytest.MonkeyPatch, *files: list[str]) -> list[list[str]]:
    """The names that are told, until the kernel watches no more."""
    monkeypatch.setattr(module, "awatch", watched.awatch)
    left = [*files, files[-1]]

    async def collect() -> list[list[str]]:
        changes, found = module.changes(lambda: left.pop(0)), []
        while True:
            try:
                found.append(await anext(changes))
            except OSError:
                return found

    return asyncio.run(collect())


def test_the_names_of_one_change_are_told_together_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched({(1, "/src/b.py"), (2, "/src/a.py"), (1, "/other/a.py")})
    assert told(watched, monkeypatch, ["/src/desk.py"]) == [["a.py", "b.py"]]


def test_a_reload_may_have_brought_other_places(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched({(1, "/src/a.py")}, {(1, "/lib/b.py")})
    files = ["/src/desk.py", "/src/other.py"], ["/src/desk.py", "/lib/b.py"]
    assert told(watched, monkeypatch, *files) == [["a.py"], ["b.py"]]
    assert watched.asked[:2] == [{"/src"}, {"/src", "/lib"}]
