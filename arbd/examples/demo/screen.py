"""The demo's report as tables on a terminal. Draws; decides nothing.

Everything but the result goes to stderr, so ``arbd demo > file`` keeps the tables and ``--json`` stays clean.
Colours and the progress bar appear on a terminal only (rich's rule; NO_COLOR is honoured).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.bar import Bar
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from arbd.cli import _show
from arbd.core.placement import in_words
from arbd.examples.demo.jobs import CONFIDENCE, HORIZON_DAYS, PATHS, WINDOW, Portfolio
from arbd.examples.demo.report import Assessment, Report
from arbd.printable import printable

_SHOWN_PORTFOLIOS: Final = 10
_BAR_WIDTH: Final = 24
_WORTH_A_WORD: Final = 0.1  # of the CPUs' time: less is noise of the kernel's counting


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the whole outcome, risks first, then speed; on standard output by default."""
    console = console or _show.console()
    console.print()
    console.print(_risks(report.assessments))
    console.print(_caption(report), style="dim")
    console.print()
    console.print(_speed(report))
    console.print(_loads(report))
    for line in report.failures:
        console.print(f"failed: {printable(line)}", style="red")
    console.print(_verdict(report))
    console.print("Next: read arbd/examples/quickstart.py, run it with: arbd dev arbd.examples.quickstart", style="dim")


def _risks(assessments: list[Assessment]) -> Table:
    headings = ("Value", "Hist. VaR", "Hist. ES", "MC VaR", "MC ES", "Worst")
    columns = [Column("Portfolio", no_wrap=True), *(Column(name, justify="right", no_wrap=True) for name in headings)]
    complete = [each for each in assessments if each.historical and each.monte_carlo]
    shown = complete[:: max(len(complete) // _SHOWN_PORTFOLIOS, 1)][:_SHOWN_PORTFOLIOS]
    return _show.drawn(
        columns,
        [(_shares(each.portfolio), *_figures(each)) for each in shown],
        title=f"Value at risk, {CONFIDENCE:.0%}, {HORIZON_DAYS} days, in thousands of the base currency",
        title_style="bold",
        title_justify="left",
        padding=(0, 1, 0, 0),  # fits 80 columns
    )


def _shares(portfolio: Portfolio) -> str:
    shown = [f"{share:.0%} {code}" for code, share in portfolio.shares[:2]]
    rest = len(portfolio.shares) - len(shown)
    return ", ".join(shown).replace("-", "−") + (f", +{rest}" if rest else "")  # noqa: RUF001 - a real minus sign


def _figures(each: Assessment) -> Iterable[str]:
    historical, monte_carlo = each.historical or {}, each.monte_carlo or {}
    yield f"{historical['value'] / 1e3:,.0f} {each.portfolio.base}"
    for result in (historical, monte_carlo):
        yield f"{result['var'] / 1e3:,.0f}"
        yield f"{result['expected_shortfall'] / 1e3:,.0f}"
    yield historical["worst"]["to"][:7]


def _caption(report: Report) -> str:
    as_of = next((each.historical["as_of"] for each in report.assessments if each.historical), "an unknown day")
    shown = min(_SHOWN_PORTFOLIOS, len(report.assessments))
    return (
        f"{shown} of {len(report.assessments)} portfolios; ECB reference rates up to {as_of}. Hist.: the last "
        f"{WINDOW:,} stretches of {HORIZON_DAYS} days happen again; Worst: the month in which the worst of them ended. "
        f"MC: {PATHS:,} futures drawn from the real days. ES: expected shortfall."
    )


def _speed(report: Report) -> Table:
    latency = f"p50 {report.latency_p50_ms:.1f} ms, p99 {report.latency_p99_ms:.1f} ms from hand-out to result"
    rows = (
        ("tasks", f"{report.succeeded} of {report.tasks} succeeded in {report.elapsed_s:.2f} s"),
        ("throughput", Text(f"{report.tasks_per_s:.1f} tasks/s", style="bold")),
        ("latency", latency),
        ("daemon ready", f"{report.ready_s:.2f} s after its start"),
    )
    return _show.drawn([Column(style="dim"), ""], rows, box=None, show_header=False)


def _loads(report: Report) -> Table:
    names = ("Process", "CPU", "Busy", "", "CPU busy")
    columns = [Column(name, justify="right" if "CPU" in name or name == "Busy" else "left") for name in names]
    load = report.load
    rows = [
        (
            f"{worker.name} (pid {worker.pid})",
            in_words(worker.cpus),
            *_share(worker.busy, "green"),
            "" if worker.cpu_busy is None else f"{worker.cpu_busy:.0%}",
        )
        for worker in load.workers
    ]
    return _show.drawn(columns, [*rows, ("supervisor", "", *_share(load.supervisor_busy, "cyan"), "")], show_edge=True)


def _share(busy: float, colour: str) -> tuple[str, Bar]:
    """A share of the time, in percent and as a bar."""
    return f"{busy:.0%}", Bar(1.0, 0.0, min(busy, 1.0), width=_BAR_WIDTH, color=colour)


def _verdict(report: Report) -> Text:
    line = Text()
    line.append(f"One process alone would have taken {report.one_process_s:.1f} s ")
    line.append(f"(measured on {report.sampled} of the tasks)", style="dim")
    line.append(f": {report.speed_up:.2f} times as long", style="bold green")
    workers = len(report.load.workers)
    line.append(f" as {workers} worker{'' if workers == 1 else 's'}.")
    if report.load.others_busy >= _WORTH_A_WORD:
        line.append(
            f" Other work had {report.load.others_busy:.0%} of the CPUs meanwhile: with nothing else to do, they are "
            "faster.",
            style="yellow",
        )
    if report.sample_mismatches:
        line.append(f"\n{report.sample_mismatches} of these results DIFFER from the daemon's.", style="bold red")
    else:
        line.append(f" All {report.sampled} results are equal to the last digit.")
    return line
