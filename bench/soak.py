"""Millions of tasks through the real daemon, and what grows meanwhile: nothing should.

    python -m bench.soak --tasks 5000000 [--protocol stream] [--workers 2] [--json]

    feed: the hub's queue is kept filled ──> daemon ──> results, of which the hub forgets all but the newest
    look: every few seconds the memory of supervisor, zygote and each worker, from /proc

A line is fitted to what was seen after the first fifth of the tasks; its slope times the number of tasks is the growth
over the run. Memory that swings with the tasks in flight averages out in that; what is lost per task does not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import linear_regression
from typing import Final, Literal

import msgspec
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from arbd.host.cpu_clock import used_ns
from bench.family import Family, Memory, memory
from bench.harness import Stage

GOAL_BYTES: Final = 1 << 20  # over the run, whatever its length: it was asked for over 5 million tasks
_PAYLOAD: Final = {"symbol": "EURUSD", "quantity": 12.5, "tags": ["a", "b"]}
_BATCH: Final = 20_000
_QUEUE: Final = 40_000  # tasks that wait at the hub at least
_WARM_UP: Final = 0.2  # of all tasks
_PAUSE_S: Final = 0.02
_SILENCE_S: Final = 60.0  # without one result: something is wrong

Kind = Literal["rss", "pss", "uss", "anonymous"]


class Sample(msgspec.Struct, frozen=True):
    """The memory of every process when so many tasks had their results."""

    tasks: int
    memory: dict[str, Memory]


class Growth(msgspec.Struct, frozen=True):
    """Of one process over the run, in bytes, and where it ended; CPU per task in µs."""

    process: str
    last: Memory
    rss: float
    pss: float
    uss: float
    cpu_us: float


class Report(msgspec.Struct, frozen=True):
    """What came of a soak; ``samples`` is all that was seen."""

    tasks: int
    seconds: float
    growth: list[Growth]
    samples: list[Sample]

    @property
    def worst(self) -> float:
        """The largest growth of resident memory, in bytes."""
        return max(each.rss for each in self.growth)


def soak(tasks: int, *, protocol: str, workers: int, every_s: float, on_progress: Callable[[int], None]) -> Report:
    """Run so many tasks. ``on_progress`` is told how many have their results."""
    with Stage(keep_finished=_BATCH) as stage:
        daemon = stage.arbd("soak", "--workers", str(workers), protocol=protocol, provider="scale_provider.py")
        feed = _Feed(stage, tasks)
        feed.wait(_BATCH // 2)
        family = Family(daemon.pid)
        samples: list[Sample] = []
        begin, cpu, look_at = time.monotonic(), _cpu(family), 0.0
        while (done := feed.top_up()) < tasks:
            on_progress(done)
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + every_s
                samples.append(Sample(done, {name: memory(pid) for name, pid in family}))
            time.sleep(_PAUSE_S)
        on_progress(done)
        seconds = time.monotonic() - begin
        used = {name: (now - cpu[name]) / 1e3 / tasks for name, now in _cpu(family).items()}
    return Report(tasks, seconds, [_growth(samples, name, used[name], tasks) for name, _ in family], samples)


class _Feed:
    """Keeps tasks waiting at the hub until all were submitted."""

    def __init__(self, stage: Stage, tasks: int) -> None:
        self._stage = stage
        self._left = tasks
        self._submitted = 0
        self._done = 0
        self._heard_at = time.monotonic()

    def top_up(self) -> int:
        """How many are done; more are submitted if few wait."""
        stats = self._stage.stats()
        waiting = stats["queued"]
        done = self._submitted - waiting - stats["leased"]
        if done > self._done:
            self._heard_at = time.monotonic()
        assert time.monotonic() < self._heard_at + _SILENCE_S, f"no result for {_SILENCE_S:g} s, after {done}"
        self._done = done
        while self._left and waiting < _QUEUE:
            count = min(self._left, _BATCH)
            self._stage.fill("soak", "quote-0", _PAYLOAD, count)
            self._submitted += count
            self._left -= count
            waiting += count
        return done

    def wait(self, done: int) -> None:
        """Until so many are done."""
        while self.top_up() < min(done, self._submitted):
            time.sleep(_PAUSE_S)


def _cpu(family: Family) -> dict[str, int]:
    return {name: used_ns(pid) for name, pid in family}


def _growth(samples: list[Sample], name: str, cpu_us: float, tasks: int) -> Growth:
    warm = [sample for sample in samples if sample.tasks >= _WARM_UP * tasks]

    def over_the_run(kind: Kind) -> float:
        line = linear_regression([sample.tasks for sample in warm], [getattr(s.memory[name], kind) for s in warm])
        return line.slope * tasks

    return Growth(name, warm[-1].memory[name], over_the_run("rss"), over_the_run("pss"), over_the_run("uss"), cpu_us)


# -- the command -----------------------------------------------------------------------------------------------------


@contextmanager
def _bar(tasks: int) -> Iterator[Callable[[int], None]]:
    """On stderr, and only where somebody looks at it."""
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("tasks", total=tasks)
        yield lambda done: progress.update(bar, completed=done)


def _print(report: Report) -> None:
    rate = report.tasks / report.seconds
    table = Table(
        title=f"{report.tasks:,} tasks in {report.seconds:.0f} s ({rate:,.0f}/s), {len(report.samples)} samples"
    )
    for column in ("process", "RSS", "USS", "growth of RSS", "of PSS", "of USS", "CPU/task"):
        table.add_column(column, justify="left" if column == "process" else "right")
    for each in report.growth:
        sizes = [f"{size / 2**20:.1f} MiB" for size in (each.last.rss, each.last.uss)]
        grown = [f"{size / 1024:+.0f} KiB" for size in (each.rss, each.pss, each.uss)]
        table.add_row(each.process, *sizes, *grown, f"{each.cpu_us:.2f} µs")
    Console().print(table)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 if the resident memory of any process grew by more than 1 MiB."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=main.__doc__)
    parser.add_argument("--tasks", type=int, default=5_000_000, help="default: 5000000")
    parser.add_argument("--protocol", choices=("stream", "unary"), default="stream")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks (default: 2)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args(arguments)
    with _bar(given.tasks) as on_progress:
        report = soak(
            given.tasks,
            protocol=given.protocol,
            workers=given.workers,
            every_s=given.every,
            on_progress=on_progress,
        )
    if given.json:
        print(msgspec.json.encode(report).decode())
    else:
        _print(report)
    return int(report.worst > GOAL_BYTES)


if __name__ == "__main__":
    sys.exit(main())
