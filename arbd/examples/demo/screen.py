"""The demo on a terminal: progress while it runs, tables when it is done. Draws; decides nothing.

Everything but the result goes to stderr, so ``arbd demo > file`` keeps the tables and ``--json`` stays clean.
Colours and the progress bar appear on a terminal only (rich's rule; NO_COLOR is honoured).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

from rich import box
from rich.bar import Bar
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
from rich.table import Table
from rich.text import Text

from arbd.examples.demo.jobs import CONFIDENCE, HORIZON_DAYS, PATHS, WINDOW, Portfolio
from arbd.examples.demo.report import Assessment, Report

_SHOWN_PORTFOLIOS: Final = 10
_WIDTH_WITHOUT_TERMINAL: Final = 110
_BAR_WIDTH: Final = 24


def result_console() -> Console:
    """Standard output; wide enough for the tables where there is no terminal to measure."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0.0:.0f}/s")


class ProgressLine:
    """One line on stderr that counts to ``total``, with the rate so far; nothing where stderr is no terminal."""

    def __init__(self, description: str, total: int) -> None:
        console = Console(stderr=True)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._line = self._progress.add_task(description, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._progress.disable:  # some releases of rich (14.1, not 14.3) end even a line that was never begun
            self._progress.stop()

    def advance(self) -> None:
        self._progress.advance(self._line)


def print_report(console: Console, report: Report) -> None:
    """The whole outcome, risks first, then speed."""
    console.print()
    console.print(_risks(report.assessments))
    console.print(_caption(report), style="dim")
    console.print()
    console.print(_speed(report))
    console.print(_loads(report))
    for line in report.failures:
        console.print(f"failed: {line}", style="red", markup=False)
    console.print(_verdict(report))
    console.print("Next: read arbd/examples/quickstart.py, run it with: arbd dev arbd.examples.quickstart", style="dim")


def _risks(assessments: list[Assessment]) -> Table:
    table = Table(
        title=f"Value at risk, {CONFIDENCE:.0%}, {HORIZON_DAYS} days, in thousands of the base currency",
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),  # fits 80 columns
    )
    table.add_column("Portfolio", no_wrap=True)
    for heading in ("Value", "Hist. VaR", "Hist. ES", "MC VaR", "MC ES", "Worst"):
        table.add_column(heading, justify="right", no_wrap=True)
    complete = [each for each in assessments if each.historical and each.monte_carlo]
    for each in complete[:: max(len(complete) // _SHOWN_PORTFOLIOS, 1)][:_SHOWN_PORTFOLIOS]:
        table.add_row(_shares(each.portfolio), *_figures(each))
    return table


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
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    table.add_row("tasks", f"{report.succeeded} of {report.tasks} succeeded in {report.elapsed_s:.2f} s")
    table.add_row("throughput", Text(f"{report.tasks_per_s:.1f} tasks/s", style="bold"))
    table.add_row(
        "latency", f"p50 {report.latency_p50_ms:.1f} ms, p99 {report.latency_p99_ms:.1f} ms from hand-out to result"
    )
    table.add_row("daemon ready", f"{report.ready_s:.2f} s after its start")
    return table


def _loads(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Process")
    table.add_column("CPU", justify="right")
    table.add_column("Busy", justify="right")
    table.add_column("")
    table.add_column("CPU busy", justify="right")
    for worker in report.load.workers:
        cpu = "any" if worker.cpu is None else str(worker.cpu)
        whole = "" if worker.cpu_busy is None else f"{worker.cpu_busy:.0%}"
        bar = Bar(1.0, 0.0, min(worker.busy, 1.0), width=_BAR_WIDTH, color="green")
        table.add_row(f"{worker.name} (pid {worker.pid})", cpu, f"{worker.busy:.0%}", bar, whole)
    supervisor = min(report.load.supervisor_busy, 1.0)
    bar = Bar(1.0, 0.0, supervisor, width=_BAR_WIDTH, color="cyan")
    table.add_row("supervisor", "", f"{report.load.supervisor_busy:.0%}", bar, "")
    return table


def _verdict(report: Report) -> Text:
    line = Text()
    line.append(f"One process alone would have taken {report.one_process_s:.1f} s ")
    line.append(f"(measured on {report.sampled} of the tasks)", style="dim")
    line.append(f": {report.speed_up:.2f} times as long", style="bold green")
    workers = len(report.load.workers)
    line.append(f" as {workers} worker{'' if workers == 1 else 's'}.")
    if report.sample_mismatches:
        line.append(f"\n{report.sample_mismatches} of these results DIFFER from the daemon's.", style="bold red")
    else:
        line.append(f" All {report.sampled} results are equal to the last digit.")
    return line
