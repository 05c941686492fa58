"""Two builds by turns: the shell of ``arbd bench --against``; what the samples say is ``arbd.tuning.paired``.

for each block: this build and the other, twice each, in an order drawn by lot; each run has a hub and a daemon of
its own, as in a sweep. Hub, load and meter are this build's for both: all that differs is the daemon.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from random import SystemRandom
from typing import Final

import msgspec
import uvloop

from arbd.errors import ArbdError
from arbd.tuning import paired, plan
from arbd.tuning.bench import Bench, BenchRequest
from arbd.tuning.build import Build, BuildError, probe, this_build
from arbd.tuning.daemon_process import DaemonError, interruptible
from arbd.tuning.measure import LoadSpec, measure
from arbd.tuning.paired import Block, PairedRecord, Side
from arbd.tuning.record import Point, Sample
from arbd.tuning.sweep import FailingError

_TOO_MANY_FAILED: Final = 0.5
_NAMES: Final[Mapping[Side, str]] = {"here": "this build", "there": "the other build"}


class Against:
    """One comparison of two builds at one point: ``measure_own``, then ``run``; ``record`` at any time after that.
    Raises ``BuildError`` if one of them does not work."""

    def __init__(self, request: BenchRequest, other: Build, environ: Mapping[str, str]) -> None:
        self._bench = Bench(request, environ)
        self._request = request
        self._builds: dict[Side, Build] = {"here": this_build(), "there": other}
        environment = self._bench.environment
        self._facts = {side: probe(build, environment) for side, build in self._builds.items()}
        self._load_before = os.getloadavg()[0]
        self._blocks: list[Block] = []
        self._rates: dict[Side, float] = {}
        self._is_complete = False

    @property
    def runs(self) -> int:
        """How many runs there will be."""
        return 4 * self._request.repeats

    @property
    def estimate_s(self) -> float:
        """About how long they will take."""
        bench = self._bench
        each_s = plan.run_s(self.point, bench.own, bench.usable_cpus, self._request.duration_s, bench.limit_rate)
        return self.runs * each_s

    @property
    def point(self) -> Point:
        """The settings that both run with."""
        return self._bench.baseline

    def measure_own(self) -> None:
        """Measure the action by itself. Raises ``ActionError`` if it fails."""
        self._bench.measure_own()

    def run(self, before: Callable[[str], None]) -> ArbdError | KeyboardInterrupt | None:
        """Measure all blocks; ``before`` is told of each run. What ended it too early, with every process stopped."""
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(interruptible(self._measure(before)))
        except ArbdError as error:
            return error
        except (KeyboardInterrupt, asyncio.CancelledError):
            return KeyboardInterrupt()
        self._is_complete = True
        return None

    def record(self) -> PairedRecord:
        """The record of the whole blocks that were measured so far."""
        whole = self._bench.record()
        return PairedRecord(
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=whole.machine,
            setup=whole.setup,
            point=self.point,
            builds=self._facts,
            blocks=self._blocks,
            rows=paired.judge(self._blocks) if self._blocks else [],
            load_before=round(self._load_before, 2),
            complete=self._is_complete,
        )

    async def _measure(self, before: Callable[[str], None]) -> None:
        for order in paired.orders(self._request.repeats, SystemRandom()):
            samples = []
            for side in order:
                before(_NAMES[side])
                samples.append(await self._sample(side))
            self._blocks.append(Block(order, samples))

    async def _sample(self, side: Side) -> Sample:
        bench, build = self._bench, self._builds[side]
        spec = LoadSpec(
            self._request.workload,
            self._request.duration_s,
            bench.own.median_s,
            build.environment(bench.environment),
            build.python,
        )
        guess = plan.guess_rate(self.point, bench.own, bench.usable_cpus, bench.limit_rate)
        try:
            sample = await measure(spec, self.point, self._rates.get(side, guess))
        except DaemonError as error:
            raise BuildError(f"{_NAMES[side]}: {error}") from error
        if sample.failed > _TOO_MANY_FAILED * sample.tasks:
            raise FailingError(f"{_NAMES[side]}: {sample.failed} tasks failed; the first: {sample.failure}")
        self._rates[side] = sample.tasks_per_s
        return sample


def encode(record: PairedRecord) -> bytes:
    """A record as JSON, fit to be read and put under version control."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
