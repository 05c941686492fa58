"""What a user would pick instead of arbd, and arbd, in one run: a table, a figure, and on request files and pictures.

    python -m bench.peers [--only arbd,huey] [--rounds N] [--short] [--json FILE] [--markdown FILE] [--plot BASE]

``make peers`` makes the environment that the peers need, runs all of them and writes bench/peers/peers.*. Exit code 1
if a peer failed (the run goes on all the same), 130 after Ctrl-C (the table shows what there is so far; no file is
written).
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from bench.harness import timed
from bench.peers import plot, registry, report, rounds
from bench.peers.burn import burn
from bench.peers.measure import ACTION_S
from bench.peers.record import FULL, SHORT, Record, Row

_INTERRUPTED: Final = 128 + signal.SIGINT
_TRIES: Final = 10_000
_WIDTH: Final = 170  # of the table where there is no terminal


def main() -> int:
    """Run, show, write."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    record = rounds.begin(options.only, options.rounds, SHORT if options.short else FULL, _work_of_5_ms())
    is_complete = _run(record)
    _show(record)
    if not is_complete:
        return _INTERRUPTED
    _write(record, options)
    return int(any(row.failures for row in record.rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", type=_names, default=list(registry.NAMES), metavar="NAMES", help=f"of {', '.join(registry.NAMES)}"
    )
    parser.add_argument("--rounds", type=int, help="default 3; with --short 1")
    parser.add_argument("--short", action="store_true", help="tiny: to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every sample, for machines")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table with settings and versions")
    parser.add_argument("--plot", type=Path, metavar="BASE", help="writes BASE.png and BASE.svg")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.short else 3)
    return options


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in registry.NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(registry.NAMES)}")
    return names


def _work_of_5_ms() -> int:
    """Rounds of ``burn`` that take 5 ms: from the fastest of several tries, because anything else only adds to it."""
    per_round_s = min(timed(lambda: burn(_TRIES), 5) for _ in range(20)) / _TRIES
    return round(ACTION_S / per_round_s)


def _run(record: Record) -> bool:
    """Whether it came to its end."""
    console = Console(stderr=True)
    console.print(
        f"{len(record.rows)} peers, {record.rounds} rounds: about {rounds.estimate_s(record) / 60:.1f} minutes"
    )
    columns = (TextColumn("{task.description:<62}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=rounds.turns_of(record))

        def look(number: int, row: Row, phase: str) -> None:
            progress.update(
                bar, description=f"round {number + 1}: {row.about.title if row.about else row.name}: {phase}"
            )

        try:
            for _ in rounds.run(record, look):
                progress.advance(bar)
        except KeyboardInterrupt:
            console.print("interrupted; this is what there is:")
            return False
    return True


def _show(record: Record) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    table = Table(*report.COLUMNS)
    table.columns[0].no_wrap = True
    for row in report.by_rate(record.rows):
        table.add_row(*report.cells(row, record.spans.patience_s))
    console.print(table)
    for note in report.notes(record):
        console.print(note, markup=False, highlight=False)


def _write(record: Record, options: argparse.Namespace) -> None:
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    if options.markdown:
        options.markdown.write_text(report.markdown(record))
    if options.plot:
        plot.draw(record, options.plot)


if __name__ == "__main__":
    sys.exit(main())
