"""The libraries that CPU-heavy actions are made of, in workers beside bare processes.

    python -m bench.libraries [LIBRARY ...] [--small] [--quick] [--workers N] [--json FILE] [--markdown FILE]

Each library is used in three ways, see ``bench.libraries.provider``. Exit code 1 if an answer is wrong, a random number
is drawn twice, or a call takes several times the CPU of a bare one; 2 if a library of the extra is not installed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.harness import facts
from bench.libraries import footprint
from bench.libraries.jobs import BY_HAND, JOBS, SMALL
from bench.libraries.measure import Effort, forget_threads, measure
from bench.libraries.rows import WAYS, Report, footprint_table, markdown, notes_of, speed_table

_FULL: Final = Effort(rounds=9, calls=30)
_QUICK: Final = Effort(rounds=2, calls=10)
_REPLACEMENTS: Final = 15


def main(arguments: Sequence[str]) -> int:
    """Measure and show; the exit code."""
    options = _parser().parse_args(arguments)
    names = options.libraries or (SMALL if options.small else list(JOBS))
    missing = [name for name in names if find_spec(JOBS[name].modules[0].partition(".")[0]) is None]
    if needed := [name for name in missing if name not in BY_HAND]:
        print(f"not installed: {', '.join(needed)}; `make libraries` installs them", file=sys.stderr)
        return 2
    forget_threads()
    os.environ["PYTHONPATH"] = os.getcwd()
    report = _measure([name for name in names if name not in missing], missing, options)
    if options.json:
        Path(options.json).write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    if options.markdown:
        Path(options.markdown).write_text(markdown(report))
    _show(report)
    return 1 if report.is_broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.libraries", description=__doc__)
    parser.add_argument(
        "libraries", nargs="*", choices=[[], *JOBS], metavar="LIBRARY", help=f"one of {', '.join(JOBS)}"
    )
    parser.add_argument("--small", action="store_true", help=f"only {', '.join(SMALL)}")
    parser.add_argument("--quick", action="store_true", help="to see that it is right: two short rounds each")
    parser.add_argument("--workers", type=int, help="and bare processes; fewer than CPUs leave one for daemon and hub")
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables")
    return parser


def _measure(names: Sequence[str], missing: list[str], options: argparse.Namespace) -> Report:
    effort = _QUICK if options.quick else _FULL
    if options.workers:
        effort = effort._replace(workers=options.workers)
    small = [] if options.quick else [name for name in footprint.LIBRARIES if name in names]
    columns = (TextColumn("{task.description:30}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(names) * len(WAYS) * effort.rounds + len(small) * _REPLACEMENTS)

        def say(what: str) -> None:
            progress.update(bar, description=what)
            if not progress.console.is_terminal:  # where there is no bar
                progress.console.print(what)

        rows, footprints = [], []
        for name in names:
            for way in WAYS:
                say(f"{name}, {way}")
                rows.append(measure(name, way, effort, lambda: progress.advance(bar)))
        for name in small:
            say(f"{name}, replaced")
            footprints.append(footprint.measure(name, _REPLACEMENTS, lambda: progress.advance(bar)))
    return Report(facts(), rows, footprints, missing)


def _show(report: Report) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    for head, *lines in (speed_table(report), footprint_table(report)):
        table = Table(*head)
        for line in lines:
            table.add_row(*line)
        if lines:
            console.print(table)
    for note in notes_of(report):
        console.print(note, markup=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
