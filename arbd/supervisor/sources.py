"""Which of the author's files changed, for ``arbd dev``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from watchfiles import PythonFilter, awatch


async def changes(sources: Callable[[], list[str]]) -> AsyncIterator[list[str]]:
    """Names of Python files that changed beside any of ``sources()``, which is asked again after each change."""
    while True:
        directories = {Path(file).parent for file in sources()}
        async for changed in awatch(*directories, watch_filter=PythonFilter(), recursive=True):
            yield sorted({Path(path).name for _, path in changed})
            break
