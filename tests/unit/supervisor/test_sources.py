"""Changes of Python files beside the author's sources are told by their names, and where to look is asked again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
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


def test_the_library_does_not_count_the_same_changes_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    told(Watched({(1, "/src/a.py")}), monkeypatch, ["/src/desk.py"])
    assert not logging.getLogger("watchfiles.main").isEnabledFor(logging.INFO)


def test_a_reload_may_have_brought_other_places(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched({(1, "/src/a.py")}, {(1, "/lib/b.py")})
    files = ["/src/desk.py", "/src/other.py"], ["/src/desk.py", "/lib/b.py"]
    assert told(watched, monkeypatch, *files) == [["a.py"], ["b.py"]]
    assert watched.asked[:2] == [{"/src"}, {"/src", "/lib"}]


def test_files_of_settings_are_watched_whatever_their_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    watched = Watched()
    monkeypatch.setattr(module, "awatch", watched.awatch)

    async def look() -> None:
        with pytest.raises(OSError, match="No space"):
            await anext(module.changes(lambda: [str(tmp_path / "desk.py")], lambda: ["arbd.toml", "gone/x.env"]))

    asyncio.run(look())
    assert watched.asked == [{str(tmp_path), "."}]
    accepts = module._Filter(["arbd.toml"])
    modified: Any = 2
    seen = [accepts(modified, str(tmp_path / name)) for name in ("arbd.toml", "other.toml", "desk.py")]
    assert seen == [True, False, True]
