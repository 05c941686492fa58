"""``arbd bench``: which settings suit an action on this machine. Options and the flow; the work is ``arbd.tuning``.

check everything that can be wrong ──> the action by itself ──> sweep ──> table, recommendation, comparison, files
                                                                  └ Ctrl-C: the same, with what is there by then
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from arbd.cli import _completers, _show
from arbd.cli._against import EXIT_SLOWER as EXIT_SLOWER
from arbd.cli._daemon import count, duration
from arbd.cli._options import SECONDS, TOML, CommandSettings, KindType, checked_json, json_text
from arbd.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, ArbdError
from arbd.settings.kinds import Kind, choice, seconds, switch, whole
from arbd.settings.table import BY_NAME, Resolved

if TYPE_CHECKING:
    from arbd.model.description import ActionInfo
    from arbd.model.limit_spec import LimitSpec
    from arbd.tuning.bench import Bench, BenchRequest
    from arbd.tuning.compare import Comparison
    from arbd.tuning.record import Record
    from arbd.tuning.report import Recommendation

_REPEATS: Final = 7
_DURATION_S: Final = 2.0
_PAIRED_DURATION_S: Final = 1.0
_QUICK: Final = {"duration_s": 0.2, "repeats": 1}


def _list_of(kind: Kind) -> KindType:
    """Values separated by commas."""

    def parse(raw: object) -> list[Any]:
        return [kind.parse(part.strip()) for part in str(raw).split(",")]

    return KindType("LIST", Kind(f"one or more, separated by commas, of: {kind.expects}", parse, words=kind.words))


class BenchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line said about how to measure, and what to do with it. ``asked``: values by dimension."""

    asked: dict[str, list[Any]]
    full: bool
    quick: bool
    duration_s: float
    repeats: int
    out: str | None
    plot: str | None
    compare: str | None
    against: str | None
    fail_on_regression: bool
    as_json: bool


@click.command(
    "bench",
    short_help="Find the settings that suit an action on this machine.",
    epilog="""\b
Examples:
  arbd bench prices.py total --payload @order.json
  arbd bench prices.py total --payload @order.json --quick             does it work at all?
  arbd bench prices.py total --payload @order.json --protocol unary    what a hub without streams can expect
  arbd bench prices.py total --payload @order.json --workers 8,12,16 --prefetch 256 --pin on,off
  arbd bench prices.py total --payload @order.json --out today.json --plot today
  arbd bench prices.py total --payload @order.json --compare before.json --fail-on-regression
  arbd bench prices.py total --payload @order.json --against ../before/.venv     two builds by turns

THE ACTION REALLY RUNS, many thousands of times: give it a payload that may be run so often.
The hub is one of its own on this machine; your settings hold but for that hub, and no token is sent.

More and more workers are tried for an action that waits, as long as that does more and memory allows it.
Differences are judged by a Mann-Whitney test over the repeats. A change is recommended, or said to be slower, only if
it is more than noise; that takes 5 repeats, and 7 to find one change in a comparison of many runs. Let nothing else
run meanwhile. --plot needs pip install 'arbd[plot]'.

--compare says what differs beside the build (machine, Python, packages, load), and then nothing about slower or faster.
--against has no such trouble: it runs this build and another one by turns, twelve times two runs of each, with the
settings of today or with those that are asked for. ENV is a virtual environment, its python, or a checkout.

Exit codes: 0 good, 1 the action or the daemon failed, or --fail-on-regression cannot tell, 3 slower
(--fail-on-regression), 130 interrupted.""",
)
@click.argument("target", shell_complete=_completers.target)
@click.argument("action")
@click.option(
    "--payload",
    default="{}",
    show_default=True,
    help="JSON, @FILE with JSON, or - for JSON on stdin.",
    shell_complete=_completers.json_file,
)
@click.option("--account", default="", help="JSON or @FILE with JSON.", shell_complete=_completers.json_file)
@click.option(
    "--workers",
    type=_list_of(whole(1, 1024)),
    help="Worker counts to try.  [default: 1, 2, 4 ... usable CPUs, and one more]",
)
@click.option("--pin", type=_list_of(switch()), help="Pinning to try.  [default: on,off]")
@click.option("--prefetch", type=_list_of(BY_NAME["prefetch"].kind), help="Prefetch to try.  [default: 1,16,256]")
@click.option("--protocol", type=_list_of(choice("stream", "unary")), help="Protocols to try.  [default: stream,unary]")
@click.option(
    "--links",
    type=_list_of(whole(0, 64)),
    help="Link processes (hub.links) to try with unary.  [default: 0, 1, 2, 4 ... a quarter of the CPUs]",
)
@click.option("--full", is_flag=True, help="Every combination, instead of one dimension after the other.")
@click.option(
    "--duration",
    "duration_s",
    type=KindType("seconds", seconds(0.05, 600)),
    help=f"How long to measure in each run. {SECONDS}  [default: 2; with --against 1]",
)
@click.option(
    "--repeat",
    "repeats",
    type=click.IntRange(1, 25),
    help="How often, in turn; with --against, how many blocks of four runs.  [default: 7; with --against 12]",
)
@click.option("--quick", is_flag=True, help="A smoke run of seconds: two points, once; its figures mean little.")
@click.option(
    "--out",
    metavar="FILE",
    help="Write everything as JSON: settings, machine, all samples.",
    shell_complete=_completers.files(".json"),
)
@click.option("--plot", metavar="BASE", help="Write BASE.png and BASE.svg.")
@click.option(
    "--compare",
    metavar="FILE",
    help="Say what changed since this file was written by --out.",
    shell_complete=_completers.files(".json"),
)
@click.option(
    "--against",
    metavar="ENV",
    help="Run another build by turns with this one: a virtual environment, its python, or a checkout.",
    shell_complete=_completers.files(""),
)
@click.option(
    "--fail-on-regression",
    is_flag=True,
    help="With --compare or --against: exit code 3 if something got slower, 1 if that cannot be told.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--config", "config_file", metavar="FILE", help="Settings file.  [default: arbd.toml here]", shell_complete=TOML
)
@click.pass_context
def command(
    ctx: click.Context, /, target: str, action: str, payload: str, account: str, config_file: str | None, **given: Any
) -> None:
    """Run ACTION of TARGET with different settings under load, and recommend the best of them.

    Each run has a hub and a daemon of its own, on this machine. It begins with a full queue.
    """
    options = _options(given)
    texts = _payload(payload), json_text("--account", account) if account else b""
    before = _checked(options)
    from arbd.supervisor.describe import describe
    from arbd.tuning.bench import Bench

    settings = CommandSettings({}, config_file)
    description = describe(target, [], settings.environ_of_code())
    resolved = settings.resolve(description)
    info = next((each for each in description.actions if each.name == action), None)
    if info is None:
        known = ", ".join(each.name for each in description.actions) or "none"
        raise click.BadParameter(f"no action {action!r}; there are: {known}", param_hint="ACTION")
    request = _request(target, info, description.limits, texts, resolved, options)
    if options.against is not None:
        from arbd.cli import _against

        ctx.exit(
            _against.run(
                request,
                options.against,
                out=options.out,
                as_json=options.as_json,
                fail_on_regression=options.fail_on_regression,
            )
        )
    bench = Bench(request, dict(os.environ))
    failure = _run(bench, request)
    ctx.exit(_conclude(bench.record(), before, options, failure))


def _options(given: dict[str, Any]) -> BenchOptions:
    asked = {name: given.pop(name) for name in ("workers", "pin", "prefetch", "protocol", "links")}
    asked = {name: values for name, values in asked.items() if values is not None}
    if given["fail_on_regression"] and given["compare"] is None and given["against"] is None:
        raise click.UsageError("--fail-on-regression needs --compare FILE or --against ENV.")
    if given["against"] is not None:
        _check_against(asked, given)
    if given["quick"]:
        given |= _QUICK
    given |= {name: value for name, value in _usual(given).items() if given[name] is None}
    return BenchOptions(asked=asked, **given)


def _usual(given: dict[str, Any]) -> dict[str, Any]:
    """What holds where nothing was said."""
    if given["against"] is None:
        return {"duration_s": _DURATION_S, "repeats": _REPEATS}
    from arbd.tuning.paired import USUAL_BLOCKS

    return {"duration_s": _PAIRED_DURATION_S, "repeats": USUAL_BLOCKS}


def _check_against(asked: dict[str, list[Any]], given: dict[str, Any]) -> None:
    """Two builds are compared with the same settings, at one point."""
    for name, option in (("compare", "--compare"), ("plot", "--plot"), ("full", "--full")):
        if given[name]:
            raise click.UsageError(f"--against compares two builds by turns; it does not go with {option}.")
    for name, values in asked.items():
        if len(values) > 1:
            raise click.UsageError(f"--against runs both builds with the same settings: one value for --{name}.")


def _payload(text: str) -> bytes:
    return checked_json("--payload -", sys.stdin.buffer.read()) if text == "-" else json_text("--payload", text)


def _checked(options: BenchOptions) -> Record | None:
    """Check files and extras before minutes are spent on measuring; returns the record to compare with."""
    for option, place in (("--out", options.out), ("--plot", options.plot)):
        if place is not None and not os.access(Path(place).absolute().parent, os.W_OK):
            raise click.BadParameter(f"cannot write into {Path(place).absolute().parent}", param_hint=option)
    if options.out is not None and (Path(options.out).is_dir() or not _may_write(Path(options.out))):
        raise click.BadParameter(f"{options.out} is not a file that can be written", param_hint="--out")
    if options.plot is not None:
        from arbd.tuning.plot import require

        require()
    if options.compare is None:
        return None
    from arbd.tuning.record import RecordError, decode

    try:
        return decode(Path(options.compare).read_bytes())
    except OSError as error:
        raise click.BadParameter(f"{options.compare}: {error.strerror}", param_hint="--compare") from error
    except RecordError as error:
        raise click.BadParameter(f"{options.compare}: {error}", param_hint="--compare") from error


def _may_write(path: Path) -> bool:
    return not path.exists() or os.access(path, os.W_OK)


def _request(
    target: str,
    info: ActionInfo,
    limits: list[LimitSpec],
    texts: tuple[bytes, bytes],
    resolved: Resolved,
    options: BenchOptions,
) -> BenchRequest:
    from arbd.tuning.bench import BenchRequest
    from arbd.tuning.own import Workload

    return BenchRequest(
        workload=Workload(target, info.name, *texts),
        timeout_s=resolved.settings.execution_timeout if info.timeout is None else info.timeout,
        resolved=resolved,
        asked=options.asked,
        full=options.full,
        only_protocols=options.quick,
        duration_s=options.duration_s,
        repeats=options.repeats,
        limits=limits,
    )


def _run(bench: Bench, request: BenchRequest) -> ArbdError | KeyboardInterrupt | None:
    """Measure, with progress on stderr; what ended it too early. Raises ``ActionError``: then there is nothing."""
    from arbd.cli._progress import ProgressLine
    from arbd.tuning.bounds import limit_rate
    from arbd.tuning.report import show_point

    try:
        bench.measure_own()
    except KeyboardInterrupt as interrupt:
        return interrupt
    runs = count(bench.most_runs, "run")
    _show.say(f"arbd bench: at most {runs}, about {duration(bench.estimate_s)}; Ctrl-C shows what is there", err=True)
    if (rate := limit_rate(request.limits, request.workload.action)) is not None:
        _show.say(f"arbd bench: a rate limit allows {rate:g} tasks/s; it is part of what is measured", err=True)
    with ProgressLine(bench.most_runs) as line:
        return bench.sweep(lambda point: line.begin(show_point(point)))


def _conclude(
    record: Record, before: Record | None, options: BenchOptions, failure: ArbdError | KeyboardInterrupt | None
) -> int:
    """Write and print what was found; the exit code."""
    from arbd.tuning.compare import compare
    from arbd.tuning.report import recommend

    comparison = None if before is None else compare(before, record)
    recommendation = recommend(record)
    _write(record, options)
    if options.as_json:
        _show.json_document({"record": record, "recommendation": recommendation, "comparison": comparison})
    elif record.measurements:
        _print(record, recommendation)
        if comparison is not None:
            _print_comparison(comparison)
    if isinstance(failure, KeyboardInterrupt):
        _show.say("arbd bench: interrupted; the daemon and the hub are stopped", err=True)
        return EXIT_INTERRUPTED
    if failure is not None:
        raise failure
    if any(found.failed for found in record.measurements):
        return EXIT_FAILURE
    return _exit_code(comparison) if options.fail_on_regression and comparison is not None else EXIT_OK


def _exit_code(comparison: Comparison) -> int:
    """The exit code of ``--fail-on-regression``: what cannot be told is not good."""
    if comparison.inconclusive is not None:
        _show.say(f"arbd bench: --fail-on-regression: {comparison.inconclusive}", err=True)
        return EXIT_FAILURE
    return EXIT_SLOWER if comparison.is_slower else EXIT_OK


def _write(record: Record, options: BenchOptions) -> None:
    from arbd.tuning.record import encode

    # Interrupted before the first sample: what an earlier benchmark wrote is worth more.
    if options.out is not None and (record.measurements or not Path(options.out).exists()):
        Path(options.out).write_bytes(encode(record))
    if options.plot is not None and record.measurements:
        from arbd.tuning.plot import draw

        draw(record, options.plot)


def _print(record: Record, recommendation: Recommendation | None) -> None:
    from arbd.tuning import report

    _show.say(report.headline(record))
    _show.say()
    _print_table(report.COLUMNS, report.rows(record, recommendation))
    _show.say()
    for line in report.LEGEND:
        _show.say(line)
    for note in report.notes(record):
        _show.say(f"note: {note}")
    if recommendation is None:
        _show.say("Nothing is recommended.")
        return
    _show.say()
    if not recommendation.is_against_today:
        _show.say("The best of what was asked for; the settings of today were not measured:")
    else:
        _show.say("Recommended, for arbd.toml:" if recommendation.is_change else "Leave the settings as they are:")
    for line in report.snippet(recommendation):
        _show.say(f"  {line}")


def _print_comparison(comparison: Comparison) -> None:
    from arbd.tuning import report

    _show.say()
    columns = ("", "", "then", "now", "ratio", "p", "")
    _print_table(columns, report.comparison_rows(comparison))
    for note in report.comparison_notes(comparison):
        _show.say(f"note: {note}")
    _show.say(report.comparison_verdict(comparison))


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table of figures that fits 80 columns; where it does not, figures are broken, not cut."""
    from rich.table import Column

    names = [
        Column(name, overflow="fold", justify="left" if number < 2 else "right") for number, name in enumerate(columns)
    ]
    _show.table(names, rows, padding=0)
