"""The progress of a benchmark on stderr: which point is being measured, how many are left. Nothing where stderr is no
terminal, so that logs of a build stay readable."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from arbd.tuning.record import Point
from arbd.tuning.report import show_point


class ProgressBar:
    """A context manager. ``total``: how many runs there will be at most."""

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        columns = (
            SpinnerColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._bar = self._progress.add_task("", total=total)
        self._begun = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._progress.disable:  # some releases of rich (14.1, not 14.3) end even a line that was never begun
            self._progress.stop()

    def before(self, point: Point) -> None:
        """This point is measured next."""
        self._progress.update(self._bar, completed=self._begun, description=show_point(point))
        self._begun += 1
