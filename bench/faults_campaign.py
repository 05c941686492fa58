"""A real daemon under constant load and one fault after the other: what it must keep, and whether it does.

    python -m bench.faults_campaign [--seconds 60] [--protocol unary|stream] [--seed N] [--json]

    hub <── numbered tasks, each with an answer that can be checked
     └──> daemon, a few workers ──> verdicts
            ^── every 2 s a fault: no descriptors, no processes, a log that nobody reads, no runtime directory, a zygote
                or worker killed or stopped, an import that fails, bursts of SIGHUP

Then everything is put back, all tasks get their verdicts, a fresh one is answered at once, and SIGTERM ends the daemon.
What must hold for each task is ``bench.faults.verdicts``; for the daemon: while it lives it is never silent for long;
if it ends by itself, then with exit code 71 and a traceback in its log, and the campaign starts it again.

Exit code 1 if a promise is broken. Leases are longer than any campaign: so the hub hands no task out a second time, and
a task that the daemon has lost stays without a verdict.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from arbd.errors import EXIT_UNEXPECTED
from arbd.hub.client import HubClient
from arbd.hub.process import HubProcess
from bench.faults import user
from bench.faults.daemon import Daemon, Ended
from bench.faults.kinds import Done, inject
from bench.faults.load import Load, each_action
from bench.faults.plan import VARIANTS, Fault, plan
from bench.faults.tasks import RIGHT
from bench.faults.verdicts import Notes, Task, Trouble, judge, read_notes

PROTOCOLS: Final = ("unary", "stream")
WORKERS: Final = 3
SILENCE_S: Final = 10.0
"""A daemon that has tasks gives a verdict at least this often, whatever has happened to it."""
_LEASE_S: Final = 3600.0
_START_S: Final = 30.0
_SETTLE_S: Final = 30.0
_FRESH_S: Final = 1.0
_FRESH_TRIES: Final = 3  # the machine may be busy
_SERVE_S: Final = 10.0
_STOP_S: Final = 30.0
_LEFT_S: Final = 5.0
_RESTART_S: Final = 0.1  # systemd's default, too
_LOOK_S: Final = 0.02
_SHORTLY_S: Final = 8.0
_SHOWN: Final = 20  # broken promises in the table


class Report(msgspec.Struct, frozen=True):
    """What came of a campaign. ``faults`` and ``missed``: how often each happened, or found nobody to happen to;
    ``verdicts``: how often each; ``restarts``: exit codes of daemons that ended by themselves; ``silence_s``: the
    longest time without a verdict, ``silent_at_s`` its beginning; ``broken``: promises, in words."""

    protocol: str
    seed: int
    seconds: float
    left_out: list[str]
    faults: dict[str, int]
    missed: dict[str, int]
    tasks: int
    verdicts: dict[str, int]
    lost: int
    falsified: int
    repeated: int
    sent_again: int
    restarts: list[int]
    silence_s: float
    silent_at_s: float
    broken: list[str]


class Campaign:
    """One campaign at one hub."""

    def __init__(self, daemon: Daemon, load: Load, faults: list[Fault]) -> None:
        self._daemon = daemon
        self._load = load
        self._faults = faults
        self.done = Done()
        self.broken: list[str] = []
        self.began_at = time.monotonic()

    async def run(self) -> None:
        """From the start of the daemon to its end."""
        self._daemon.start()
        try:
            async with _in_background(self._load.collect(), self._keep_running()):
                if await self._serves_at_first():
                    await self._trouble()
                    await self._settle()
            await self._end()
        finally:
            self._daemon.kill()

    async def _serves_at_first(self) -> bool:
        numbers = await self._load.submit("echo")
        serves = await self._load.wait_for(numbers, _START_S)
        if not serves:
            self.broken.append("the daemon did not serve at all")
        self._load.silence_s = 0.0
        return serves

    async def _trouble(self) -> None:
        self.began_at = time.monotonic()
        async with _in_background(self._load.go_on()), asyncio.TaskGroup() as happening:
            for fault in self._faults:
                await asyncio.sleep(self.began_at + fault.at_s - time.monotonic())
                happening.create_task(inject(fault, self._daemon, self.done))

    async def _keep_running(self) -> None:
        """Start the daemon again whenever it has ended."""
        while True:
            if self._daemon.has_ended():
                await asyncio.sleep(_RESTART_S)
                self._daemon.start()
            await asyncio.sleep(_LOOK_S)

    async def _settle(self) -> None:
        """Everything has been put back: now nothing may be missing."""
        if not await self._load.wait_for_all(_SETTLE_S):
            self.broken.append(f"tasks had no verdict {_SETTLE_S:g} s after the last fault")
        if not await self._answers_at_once():
            self.broken.append(f"at the end a fresh task was not answered within {_FRESH_S:g} s")
        numbers = await self._load.submit(*each_action())
        await self._load.wait_for(numbers, _SERVE_S)
        await asyncio.sleep(_FRESH_S)  # the window of the limit
        [number] = await self._load.submit("limited")
        if not await self._load.wait_for([number], _SERVE_S) or self._load.verdicts[number - 1] != [RIGHT]:
            self.broken.append("at the end the limit that the host shares lets nothing through")

    async def _answers_at_once(self) -> bool:
        for _ in range(_FRESH_TRIES):
            if await self._load.wait_for(await self._load.submit("echo"), _FRESH_S):
                return True
        return False

    async def _end(self) -> None:
        code = await self._daemon.stop(_STOP_S)
        if code != 0:
            self.broken.append(f"at the end SIGTERM led to {'nothing' if code is None else f'exit code {code}'}")
        for ended in self._daemon.ended:
            self.broken += list(_wrong_end(ended))
        if self._load.silence_s > SILENCE_S:
            at_s = self._load.silent_from - self.began_at
            self.broken.append(
                f"no verdict for {self._load.silence_s:.1f} s from second {at_s:.1f} on: {self._around(at_s)}"
            )
        self.broken += self.done.broken
        if left := await self._left_over():
            self.broken.append(f"processes were left: {[process.name() for process in left]}")

    def _around(self, at_s: float) -> str:
        """The faults that came shortly before a moment."""
        return ", ".join(f"{each.words}@{each.at_s:g}" for each in self._faults if -_SHORTLY_S < each.at_s - at_s < 1)

    async def _left_over(self) -> list[psutil.Process]:
        give_up_at = time.monotonic() + _LEFT_S
        while True:
            left = self._daemon.left_over()
            if not left or time.monotonic() > give_up_at:
                return left
            await asyncio.sleep(_LOOK_S)

    async def tasks(self) -> list[Task]:
        """What is known of each task."""
        with self._daemon.marks.open() as lines:
            notes = read_notes(lines)
        histories = await self._load.histories()
        rows = zip(self._load.actions, self._load.verdicts, histories, strict=True)
        return [
            Task(number, action, verdicts, events, notes.get(number, Notes()))
            for number, (action, verdicts, events) in enumerate(rows, 1)
        ]


def _wrong_end(ended: Ended) -> list[str]:
    if ended.code != EXIT_UNEXPECTED:
        return [f"the daemon ended by itself with exit code {ended.code}"]
    return [] if ended.traceback else ["the daemon ended by itself, and its log has no traceback"]


@asynccontextmanager
async def _in_background(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these meanwhile; if one fails, so does this block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        yield
        for task in tasks:
            task.cancel()


async def campaign(protocol: str, seconds: float, seed: int, kinds: Collection[str], keep: Path | None) -> Report:
    """Run one; ``keep``: a directory for what it leaves, such as the log of the daemon."""
    kinds, left_out = list(kinds), []
    if os.geteuid() == 0 and "processes" in kinds:
        kinds.remove("processes")
        left_out.append("processes: such a limit does not hold for root, and here root cannot become somebody else")
    directory = Path(tempfile.mkdtemp(prefix="arbd-faults-"))
    try:
        with HubProcess(lease_s=_LEASE_S, hold_s=1.0) as hub:
            async with HubClient(hub.address, timeout_s=30) as client:
                load = Load(client, seed)
                daemon = Daemon(directory, hub.address, protocol=protocol, workers=WORKERS)
                run = Campaign(daemon, load, plan(seed, seconds, kinds))
                await run.run()
                tasks = await run.tasks()
        judgement = judge(tasks, Trouble(run.done.killed, bool(daemon.ended)))
        return Report(
            protocol,
            seed,
            seconds,
            left_out,
            run.done.counts,
            run.done.missed,
            len(tasks),
            dict(Counter(verdict for task in tasks for verdict in task.verdicts)),
            judgement.lost,
            judgement.falsified,
            judgement.repeated,
            judgement.sent_again,
            [ended.code for ended in daemon.ended],
            load.silence_s,
            load.silent_from - run.began_at,
            run.broken + judgement.broken,
        )
    finally:
        if keep is not None:
            _keep(directory, keep / f"{protocol}-{seed}")
        shutil.rmtree(directory)


def _keep(directory: Path, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name in ("log", "marks"):
        shutil.copy(directory / name, place / name)


# -- the command -----------------------------------------------------------------------------------------------------


def _print(report: Report) -> None:
    console = Console()
    table = Table(title=f"{report.protocol}, seed {report.seed}, {report.seconds:g} s: what happened")
    table.add_column("fault")
    table.add_column("times", justify="right")
    for words, times in sorted(report.faults.items()):
        table.add_row(words, str(times))
    for words, times in sorted(report.missed.items()):
        table.add_row(f"{words} (found nobody)", str(times))
    console.print(table)
    table = Table(title=f"{report.tasks:,} tasks: what came of them")
    table.add_column("verdict")
    table.add_column("tasks", justify="right")
    for verdict, count in sorted(report.verdicts.items(), key=lambda each: -each[1]):
        table.add_row(verdict, f"{count:,}")
    for word in ("lost", "falsified", "repeated", "sent_again"):
        table.add_row(word.replace("_", " "), str(getattr(report, word)))
    console.print(table)
    console.print(f"restarts after exit codes: {report.restarts or 'none'}; longest silence {report.silence_s:.2f} s")
    for words in report.left_out:
        console.print(f"LEFT OUT: {words}", style="bold yellow")
    for words in report.broken[:_SHOWN]:
        console.print(f"BROKEN: {words}", style="bold red", markup=False, highlight=False)
    if len(report.broken) > _SHOWN:
        console.print(f"and {len(report.broken) - _SHOWN} more; --json has all", style="bold red")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults_campaign", description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load and faults (default: 60)")
    parser.add_argument("--protocol", choices=PROTOCOLS, help="default: both, one after the other")
    parser.add_argument("--seed", type=int, default=1, help="the same faults for the same seed (default: 1)")
    parser.add_argument("--faults", default=",".join(VARIANTS), help="only these kinds, with commas (default: all)")
    parser.add_argument("--keep", type=Path, help="keep the daemon's log and the actions' notes in this directory")
    parser.add_argument("--json", action="store_true", help="print the reports as JSON")
    given = parser.parse_args(arguments)
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            given.keep.chmod(0o777)  # for the one that root becomes
    kinds = given.faults.split(",")
    if unknown := [kind for kind in kinds if kind not in VARIANTS]:
        parser.error(f"no fault is called {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    user.run_as_somebody_else(["-m", "bench.faults_campaign", *(sys.argv[1:] if arguments is None else arguments)])
    reports = []
    for protocol in [given.protocol] if given.protocol else PROTOCOLS:
        report = asyncio.run(campaign(protocol, given.seconds, given.seed, kinds, given.keep))
        reports.append(report)
        if not given.json:
            _print(report)
    if given.json:
        print(msgspec.json.encode(reports).decode())
    return int(any(report.broken for report in reports))


if __name__ == "__main__":
    sys.exit(main())
