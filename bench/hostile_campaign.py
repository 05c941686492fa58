"""Hostile actions among innocent ones, in the same workers: nobody innocent is hurt, and little of their time is lost.

    python -m bench.hostile_campaign [--tasks 100000] [--seed N] [--workers N] [--json]

    hub <── numbered tasks: one in 20 hostile, of more than 40 kinds; the others can be checked, and look around
     └──> daemon, a few workers ──> verdicts

Every innocent task must have its own right answer, once, and find its process as it was. Beside it, in the same run and
before and after, the same innocent tasks alone: how many of them are done for each second of a worker that no hostile
task held, from its start until its slot is ready again, is compared.

Exit code 1 if somebody was hurt, or a process was left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from arbd.errors import HubError
from arbd.hub.client import HubClient
from arbd.hub.process import HubProcess
from bench.hostile import service
from bench.hostile.daemon import Daemon
from bench.hostile.hostile import HOSTILE
from bench.hostile.innocent import INNOCENT
from bench.hostile.judge import Judgement, judge
from bench.hostile.marks import read
from bench.hostile.tasks import BATCH, Tasks, verdict_of

EVERY: Final = 20
_WORKERS: Final = max(1, len(os.sched_getaffinity(0)) - 1)
_WAITING: Final = 60  # tasks without a verdict: enough that no worker is idle
_LOOK_S: Final = 0.01
_SILENCE_S: Final = 60.0
_LEFT_S: Final = 5.0
_ALONE: Final = 0.05  # of the tasks, before and after
_LEAST_ALONE: Final = 300
_SHOWN: Final = 20


class Report(msgspec.Struct, frozen=True):
    """What came of a campaign. ``share``: innocent tasks for each second of a worker that nobody hostile held, against
    the same alone. ``served``: seconds of CPU that supervisor and zygote used for each of those seconds, which on a
    machine without spare CPUs are not the workers'; the same alone. ``verdicts``: of the hostile ones, by action.
    ``broken``: everything that must not be, in words."""

    seed: int
    tasks: int
    hostile_actions: int
    innocent: int
    hostile: int
    wrong: int
    lost: int
    twice: int
    per_second: float
    alone_per_second: list[float]
    share: float
    served: float
    alone_served: list[float]
    held_s: dict[str, float]
    verdicts: dict[str, dict[str, int]]
    broken: list[str]


class Run(msgspec.Struct):
    """One daemon from start to end: its judgement, the verdicts of the hostile, and what else was wrong."""

    judgement: Judgement
    verdicts: dict[str, Counter[str]]
    broken: list[str]
    served_s: float

    @property
    def served(self) -> float:
        """Seconds of CPU of supervisor and zygote for each second of a worker that nobody hostile held."""
        return self.served_s / self.judgement.free_s if self.judgement.free_s else 0.0


class _Load:
    """Tasks out, verdicts in."""

    def __init__(self, client: HubClient, seed: int, tasks: Tasks, progress: Progress) -> None:
        self._client = client
        self._seed = seed
        self._tasks = tasks
        self._progress = progress
        self.verdicts: list[list[str]] = []
        self.drawn: list[str] = []
        self._results = 0

    async def run(self, count: int, what: str) -> bool:
        """Submit ``count`` tasks and wait for their verdicts; whether all came."""
        bar = self._progress.add_task(what, total=count)
        quiet = 0.0
        while self._results < count:
            room = min(_WAITING - len(self.verdicts) + self._results, count - len(self.verdicts))
            if room > 0:
                new = [self._tasks.make() for _ in range(room)]
                self.verdicts += [[] for _ in new]
                await self._client.submit(new, BATCH)
            before = self._results
            await self._collect()
            self._progress.update(bar, completed=self._results)
            if self._results == before:
                quiet += _LOOK_S
                if quiet > _SILENCE_S:
                    return False
                await asyncio.sleep(_LOOK_S)
            else:
                quiet = 0.0
        await asyncio.sleep(0.2)  # a second verdict, if there is one
        await self._collect()
        return True

    async def _collect(self) -> None:
        try:
            async for result in self._client.results(BATCH, self._results):
                self._results += 1
                said, drawn = verdict_of(self._seed, result)
                self.verdicts[int(result.id) - 1].append(said)
                if drawn:
                    self.drawn.append(drawn)
        except HubError as error:
            if error.code != "NOT_FOUND":  # nothing was submitted yet
                raise


async def _run(
    seed: int, count: int, hostile: Sequence[str], workers: int, progress: Progress, keep: Path | None
) -> Run:
    directory = Path(tempfile.mkdtemp(prefix="arbd-hostile-"))
    what = "with hostile actions" if hostile else "innocent actions alone"
    tasks = Tasks(seed, INNOCENT, hostile, EVERY if hostile else 0)
    try:
        async with await service.serve(directory / "service"):
            with (
                HubProcess(lease_s=3600.0, hold_s=1.0) as hub,
                Daemon(directory, hub.address, directory / "service", workers=workers) as daemon,
            ):
                async with HubClient(hub.address, timeout_s=30) as client:
                    load = _Load(client, seed, tasks, progress)
                    complete = await load.run(count, what)
                broken = [] if complete else [f"{what}: no verdict for {_SILENCE_S:g} s"]
                served_s = 0.0
                if not daemon.has_ended():
                    served_s = daemon.served_s()
                else:
                    broken.append(f"{what}: the daemon has ended by itself")
        if daemon.exit_code != 0:
            broken.append(f"{what}: SIGTERM led to {daemon.exit_code}")
        broken += await _left_over(daemon, what)
        marks = list(read(directory / "marks"))
        judgement = judge(tasks.actions, load.verdicts, load.drawn, marks, hostile)
        verdicts: dict[str, Counter[str]] = {action: Counter() for action in hostile}
        for action, given in zip(tasks.actions, load.verdicts, strict=True):
            if action in verdicts:
                verdicts[action].update(each.partition(":")[0][:60] for each in given)
        return Run(judgement, verdicts, broken, served_s)
    finally:
        if keep is not None:
            shutil.copy(directory / "log", keep / f"log-{'hostile' if hostile else 'alone'}")
        shutil.rmtree(directory)


async def _left_over(daemon: Daemon, what: str) -> list[str]:
    for _ in range(round(_LEFT_S / 0.1)):
        left = daemon.left_over()
        if not left:
            return []
        await asyncio.sleep(0.1)
    found = [f"{what}: left behind: {' '.join(process.cmdline())[:80]}" for process in left]
    for process in left:
        process.kill()
    return found


async def campaign(
    seed: int, count: int, hostile: Sequence[str], workers: int, progress: Progress, keep: Path | None
) -> Report:
    """Run one: the innocent alone, all together, the innocent alone."""
    few = max(_LEAST_ALONE, round(count * _ALONE))
    runs = [
        await _run(seed, many, who, workers, progress, keep) for many, who in ((few, ()), (count, hostile), (few, ()))
    ]
    alone = [runs[0].judgement.per_second, runs[2].judgement.per_second]
    found = runs[1].judgement
    words = [words for run in runs for words in (*run.broken, *run.judgement.words)]
    return Report(
        seed=seed,
        tasks=count,
        hostile_actions=len(hostile),
        innocent=found.innocent,
        hostile=found.hostile,
        wrong=sum(run.judgement.wrong for run in runs),
        lost=sum(run.judgement.lost for run in runs),
        twice=sum(run.judgement.twice for run in runs),
        per_second=found.per_second,
        alone_per_second=alone,
        share=found.per_second / statistics.mean(alone) if all(alone) else 0.0,
        served=runs[1].served,
        alone_served=[runs[0].served, runs[2].served],
        held_s=found.held_s,
        verdicts={action: dict(verdicts) for action, verdicts in runs[1].verdicts.items()},
        broken=words,
    )


# -- the command -----------------------------------------------------------------------------------------------------


def _print(report: Report, console: Console) -> None:
    table = Table(title=f"{report.hostile_actions} hostile actions, seed {report.seed}: what came of them")
    for column in ("action", "held a worker, s", "verdicts"):
        table.add_column(column, justify="right" if "held" in column else "left")
    for action, verdicts in report.verdicts.items():
        table.add_row(
            action,
            f"{report.held_s.get(action, 0):.2f}",
            ", ".join(f"{word} {times}" for word, times in verdicts.items()),
        )
    console.print(table)
    console.print(
        f"{report.innocent:,} innocent tasks among {report.hostile:,} hostile: "
        f"wrong {report.wrong}, lost {report.lost}, twice {report.twice}"
    )
    console.print(
        f"innocent tasks per free second of a worker: {report.per_second:.1f}; alone "
        f"{', '.join(f'{each:.1f}' for each in report.alone_per_second)}: share {report.share:.3f} (goal: 0.9)"
    )
    console.print(
        f"CPU of supervisor and zygote for each such second: {report.served:.3f} s; alone "
        f"{', '.join(f'{each:.3f}' for each in report.alone_served)}"
    )
    for words in report.broken[:_SHOWN]:
        console.print(f"BROKEN: {words}", style="bold red", markup=False, highlight=False)
    if len(report.broken) > _SHOWN:
        console.print(f"and {len(report.broken) - _SHOWN} more; --json has all", style="bold red")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile_campaign", description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=100_000, help="of the mixed run (default: 100,000)")
    parser.add_argument("--seed", type=int, default=1, help="the same tasks for the same seed (default: 1)")
    parser.add_argument("--workers", type=int, default=_WORKERS, help="default: all CPUs but one")
    parser.add_argument("--only", default=",".join(HOSTILE), help="only these hostile actions, with commas")
    parser.add_argument("--keep", type=Path, help="keep the daemons' logs in this directory")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args(arguments)
    hostile = given.only.split(",")
    if unknown := [action for action in hostile if action not in HOSTILE]:
        parser.error(f"no hostile action is called {', '.join(unknown)}; there are {', '.join(HOSTILE)}")
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        report = asyncio.run(campaign(given.seed, given.tasks, hostile, given.workers, progress, given.keep))
    if given.json:
        print(msgspec.json.encode(report).decode())
    else:
        _print(report, Console())
    return int(bool(report.broken))


if __name__ == "__main__":
    sys.exit(main())
