"""``arbd bench --against``: this build and another by turns, from the request to the exit code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from arbd.cli import _show
from arbd.cli._daemon import count, duration
from arbd.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, ArbdError

if TYPE_CHECKING:
    from arbd.tuning.against import Against
    from arbd.tuning.bench import BenchRequest
    from arbd.tuning.paired import PairedRecord

EXIT_SLOWER: Final = 3  # --fail-on-regression: something got slower by more than noise


def run(request: BenchRequest, place: str, *, out: str | None, as_json: bool, fail_on_regression: bool) -> int:
    """Measure both, print and write what was found; the exit code. Raises what ended it too early."""
    from arbd.tuning.against import Against
    from arbd.tuning.build import BuildError, find

    try:
        against = Against(request, find(place), dict(os.environ))
    except BuildError as error:
        raise click.BadParameter(str(error), param_hint="--against") from error
    failure = _measure(against)
    record = against.record()
    _write(record, out)
    if as_json:
        _show.json_document(record)
    elif record.blocks:
        _print(record)
    if isinstance(failure, KeyboardInterrupt):
        _show.say("arbd bench: interrupted; the daemon and the hub are stopped", err=True)
        return EXIT_INTERRUPTED
    if failure is not None:
        raise failure
    return _exit_code(record) if fail_on_regression else EXIT_OK


def _measure(against: Against) -> ArbdError | KeyboardInterrupt | None:
    from arbd.cli._progress import ProgressLine

    try:
        against.measure_own()
    except KeyboardInterrupt as interrupt:
        return interrupt
    runs, took = count(against.runs, "run"), duration(against.estimate_s)
    _show.say(f"arbd bench: {runs}, half of them of the other build, {took}; Ctrl-C shows what is there", err=True)
    with ProgressLine(against.runs) as line:
        return against.run(line.begin)


def _write(record: PairedRecord, out: str | None) -> None:
    from arbd.tuning.against import encode

    # Interrupted before the first block: what an earlier benchmark wrote is worth more.
    if out is not None and (record.blocks or not Path(out).exists()):
        Path(out).write_bytes(encode(record))


def _print(record: PairedRecord) -> None:
    from arbd.tuning import paired_report

    _show.say(paired_report.headline(record))
    _show.say()
    _show.table(paired_report.COLUMNS, paired_report.rows(record))
    _show.say()
    for note in paired_report.notes(record):
        _show.say(f"note: {note}")
    _show.say(paired_report.verdict(record))


def _exit_code(record: PairedRecord) -> int:
    from arbd.tuning import paired_report

    if record.is_slower:
        return EXIT_SLOWER
    if not record.can_tell:
        _show.say(f"arbd bench: --fail-on-regression: {paired_report.verdict(record)}", err=True)
        return EXIT_FAILURE
    return EXIT_OK
