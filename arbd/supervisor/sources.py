"""Which of the author's files changed, for ``arbd dev``; and of the files that settings come from."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from watchfiles import Change, PythonFilter, awatch


class _Filter(PythonFilter):
    """Python files, and these by their paths."""

    def __init__(self, files: list[str]) -> None:
        super().__init__()
        self._files = {os.path.realpath(file) for file in files}

    def __call__(self, change: Change, path: str) -> bool:
        return os.path.realpath(path) in self._files or super().__call__(change, path)


async def changes(sources: Callable[[], list[str]], files: Callable[[], list[str]] = list) -> AsyncIterator[list[str]]:
    """Names of Python files that changed beside any of ``sources()``, and of ``files()`` that did, whatever their kind.
    Both are asked again after each change."""
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it counts changes, and whoever asks here names them
    while True:
        others = files()
        directories = {Path(file).parent for file in [*sources(), *others]}
        watched = [each for each in directories if each.is_dir()] if others else directories
        async for changed in awatch(*watched, watch_filter=_Filter(others), recursive=True):
            yield sorted({Path(path).name for _, path in changed})
            break
