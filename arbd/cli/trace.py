"""``arbd trace``: the last tasks of a running daemon as a picture of time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

import click

from arbd.cli import _completers, _show
from arbd.cli import _output_file as output
from arbd.cli._daemon import count, daemon_options

if TYPE_CHECKING:
    from arbd.control.trace_reader import Recording

_LONGEST_S: Final = 600.0


class _Seconds(click.FloatRange):
    """A length of time; click's own range lets NaN through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        return self.fail(f"{value!r} is not a number.", param, ctx) if math.isnan(found) else found


@click.command(
    "trace",
    short_help="When each task came, waited, ran and was acknowledged: a file for Perfetto.",
    epilog="""\b
Examples:
  arbd trace --last --out last.json        what the daemon remembers: its last 1024 tasks
  arbd trace --seconds 5 --out trace.json  what happens in the next 5 seconds
  arbd trace prices --out trace.json.gz    compressed; Perfetto reads that as well
  arbd trace --out trace.json --json | jq .file

Open the file at https://ui.perfetto.dev, or in chrome://tracing: it stays in the browser. A track for each worker shows
what it ran; the supervisor's shows each task from taken to acknowledged, and where it waited.

The recorder is always on. It holds ids, actions, outcomes and times: no payloads, no results. Ctrl-C ends the recording
early, and the file is written.

The exit code is 0 if the file is written, 1 if there is no daemon or the file cannot be written.""",
)
@click.option(
    "--seconds",
    type=_Seconds(min=0, max=_LONGEST_S, min_open=True),
    default=5.0,
    show_default=True,
    metavar="N",
    help="How long to record.",
)
@click.option("--last", is_flag=True, help="Record nothing: take what the daemon remembers.")
@click.option(
    *("--out", "out"),
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file to write; compressed if it ends with .gz.",
    shell_complete=_completers.files(),
)
@daemon_options
def command(path: Path, as_json: bool, seconds: float, last: bool, out: Path) -> None:
    """Write when the tasks of a running daemon came, waited, ran and were acknowledged, in the Chrome trace format.

    DAEMON is the name of its provider or the path of its control socket; it may be left out if only one is running.
    """
    with output.checked(out):
        recording = _read(path, 0.0 if last else seconds)
        with _opened(out) as file:
            tasks = _write(recording, file)
    if as_json:
        found = {"file": str(out.absolute()), "tasks": tasks, "missed": recording.missed, "cut": recording.is_cut}
        _show.json_document(found)
    else:
        _show.say(f"{out}: {count(tasks, 'task')}; open it at https://ui.perfetto.dev")
        for line in _remarks(recording):
            _show.say(line, err=True)


def _opened(out: Path) -> IO[bytes]:
    import gzip

    if out.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(out, "wb", compresslevel=6))
    return out.open("wb")


def _read(path: Path, seconds: float) -> Recording:
    """What the daemon tells; of its past, if ``seconds`` is 0."""
    from arbd.cli._progress import ProgressLine
    from arbd.control.client import ask
    from arbd.control.protocol import GetTrace, TraceReply
    from arbd.control.trace_reader import TraceReader

    def page(request: GetTrace) -> TraceReply:
        return ask(path, request, TraceReply)

    if not seconds:
        return TraceReader(page).last()
    with ProgressLine(100) as line:

        def on_progress(passed_s: float, tasks: int) -> None:
            line.show(round(100 * passed_s / seconds), 100, f"{passed_s:.1f} of {seconds:g} s, {count(tasks, 'task')}")

        return TraceReader(page, on_progress=on_progress).during(seconds)


def _write(recording: Recording, file: IO[bytes]) -> int:
    """How many tasks were written."""
    from datetime import UTC, datetime

    from arbd.control.chrome_trace import document, legs_of

    legs = legs_of([*recording.flights, *recording.running], recording.acks, recording.now_ns)
    at = datetime.fromtimestamp(recording.now_unix_ns / 1e9, UTC).isoformat(timespec="milliseconds")
    for piece in document(recording.provider, legs, at):
        file.write(piece)
    return len(legs)


def _remarks(recording: Recording) -> list[str]:
    """What people should know of a recording that is not whole."""
    from arbd.control.trace_reader import MOST_TASKS

    remarks = []
    if recording.is_cut:
        remarks.append(f"it ended after {MOST_TASKS} tasks, which is as much as a browser opens well")
    elif recording.missed:
        remarks.append(f"{count(recording.missed, 'task')} came too fast to be recorded; a shorter time has them all")
    return remarks
