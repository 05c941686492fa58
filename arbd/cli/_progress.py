"""A line of progress on standard error; nothing where that is no terminal, so that logs stay readable."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from arbd.printable import printable


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0.0:.0f}/s")


class ProgressLine:
    """A context manager: a bar that counts to ``total``, gone at the end. ``shows_rate``: how many in a second, too."""

    def __init__(self, total: int, description: str = "", *, shows_rate: bool = False) -> None:
        console = Console(stderr=True)
        columns = (
            SpinnerColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            *([_RateColumn()] if shows_rate else []),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task(description, total=total)
        self._begun = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._progress.disable:  # some releases of rich (14.1, not 14.3) end even a line that was never begun
            self._progress.stop()

    def advance(self) -> None:
        """Count one more as done."""
        self._progress.advance(self._task)

    def begin(self, description: str) -> None:
        """Count all that were begun as done, and show ``description`` while the next one runs."""
        self._progress.update(self._task, completed=self._begun, description=printable(description))
        self._begun += 1

    def show(self, done: int, total: int, description: str) -> None:
        """Show that ``done`` of ``total`` are made; a total of 0 is not known."""
        self._progress.update(self._task, completed=done, total=total or None, description=printable(description))
