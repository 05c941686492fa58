"""Waiting, in ``arbd dev``, for source or settings that did not load to be changed.

Looked at before the load and again every half second, by name, size and time of change: what is saved while the load
still fails counts, and no kernel facility can run out. Directories of installed packages are left out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

_LOOK_EVERY_S: Final = 0.5
_SETTLE_S: Final = 0.1  # an editor may write in several steps
_MOST_FILES: Final = 5_000
_MOST_DEPTH: Final = 8
_LEFT_OUT: Final = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "env", "build", "dist"})

Seen = dict[str, tuple[int, int]]
"""Files by path: when each was changed last, and its size."""


def place_of(target: str) -> tuple[Path, bool]:
    """The directory that a TARGET is loaded from, and whether there is such a file or module at all."""
    place = target.rpartition(":")[0] if ":" in target else target
    if place.endswith(".py") or "/" in place:
        path = Path(place).resolve()
        return path.parent, path.is_file()
    return Path.cwd(), PathFinder.find_spec(place.partition(".")[0], None) is not None or _is_here(place)


def _is_here(module: str) -> bool:
    top = Path(module.partition(".")[0])
    return top.is_dir() or top.with_suffix(".py").is_file()


class LoadedFiles:
    """The Python files below a directory, and other ``files``, as they were when this was made."""

    def __init__(self, directory: Path, files: Iterable[str] = ()) -> None:
        self._directory = directory
        self._files = [file for file in files if file]
        self._before = self._look()

    def changed(self) -> list[str]:
        """The names of files that are new, gone or otherwise than before."""
        before, now = self._before, self._look()
        return sorted({Path(path).name for path in before.keys() | now.keys() if before.get(path) != now.get(path)})

    def wait(self, sleep: Callable[[float], object] = time.sleep) -> list[str]:
        """Return when files have changed, with their names."""
        while not (names := self.changed()):
            sleep(_LOOK_EVERY_S)
        sleep(_SETTLE_S)
        return names

    def _look(self) -> Seen:
        seen: Seen = {}
        for path in (*self._files, *_sources(str(self._directory), _MOST_DEPTH)):
            try:
                facts = os.stat(path)
            except OSError:
                continue  # gone, which is a difference, too
            seen[path] = (facts.st_mtime_ns, facts.st_size)
            if len(seen) >= _MOST_FILES:
                break
        return seen


def _sources(directory: str, depth: int) -> Iterator[str]:
    """The Python files of a directory, then those of the ones below."""
    below = []
    try:
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if entry.name.startswith("."):
                    continue
                if entry.name.endswith(".py"):
                    yield entry.path
                elif entry.name not in _LEFT_OUT and entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
    except OSError:
        return
    if depth:
        for path in below:
            yield from _sources(path, depth - 1)
