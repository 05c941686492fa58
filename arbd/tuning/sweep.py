"""The measuring of a benchmark: how far the number of workers goes, then stage by stage, round by round, around the
best so far.

Decides nothing about statistics (``compare``, ``report``) and nothing about order (``plan``); it measures what they say
and keeps what was measured, so that an interrupted sweep still has something to say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from arbd.errors import ArbdError
from arbd.tuning import growth, plan
from arbd.tuning.choose import choose
from arbd.tuning.daemon_process import DaemonError
from arbd.tuning.record import Measurement, OwnTime, Point, Sample
from arbd.tuning.room import Room

_TOO_MANY_FAILED: Final = 0.5  # the share of failed tasks from which on nothing is measured any more

Measure = Callable[[Point, float], Awaitable[Sample]]
"""Takes one sample at a point, where so many tasks/s are expected."""


class FailingError(ArbdError):
    """Most tasks fail under the daemon, so what is measured are failures."""


class Sweep:
    """The course of one benchmark; ``measurements`` are there at any time. ``before``: told of each point just before
    it is measured. ``room``: how many workers of so many bytes there is room for; without it, no more are tried than
    ``space`` has. ``limit_rate``: what a rate limit of the action allows."""

    def __init__(
        self,
        space: plan.Space,
        own: OwnTime,
        cpus: int,
        *,
        repeats: int,
        full: bool,
        before: Callable[[Point], None],
        room: Callable[[int], Room] | None = None,
        limit_rate: float | None = None,
    ) -> None:
        self._space = space
        self._own = own
        self._cpus = cpus
        self._repeats = repeats
        self._full = full
        self._before = before
        self._room = room
        self._limit_rate = limit_rate
        self._samples: dict[Point, list[Sample]] = {}
        #: Why no more workers were tried, though throughput still grew; empty: it did not.
        self.bound = ""

    @property
    def measurements(self) -> list[Measurement]:
        """What has been measured so far, point by point in the order of their first samples."""
        return [Measurement(point, list(samples)) for point, samples in self._samples.items()]

    async def run(self, measure: Measure) -> None:
        """Measure everything. Raises ``FailingError``, and what ``measure`` raises."""
        if self._room is not None and grows(self._space, self._own, self._cpus, self._limit_rate):
            await self._grow(measure, self._room)
        for stage in plan.stages(self._space, full=self._full):
            for points in plan.rounds(plan.points(self._space, stage, self._best()), self._repeats):
                for point in points:
                    self._before(point)
                    self._keep(point, await measure(point, self._expected(point)))

    async def _grow(self, measure: Measure, room: Callable[[int], Room]) -> None:
        """Find out how many workers are worth all repeats, by one sample each."""
        rates: dict[int, float] = {}
        left = room(0)
        while (count := growth.next_count(rates, self._cpus, left.most)) is not None:
            point = msgspec.structs.replace(self._space.baseline, workers=count)
            self._before(point)
            try:
                sample = await measure(point, self._expected(point))
            except DaemonError as error:
                if not rates:
                    raise
                left = Room(max(rates), f"a daemon with {count} workers did not work ({_first_line(error)})")
                continue
            self._keep(point, sample)
            rates[count] = sample.tasks_per_s
            left = room(sample.worker_bytes)
        usual = max(self._space.values["workers"])
        if max(growth.worth_repeating(rates)) > usual:
            self._space = plan.grown(self._space, growth.worth_repeating(rates))
        if growth.is_at_edge(rates):
            self.bound = left.bound

    def _keep(self, point: Point, sample: Sample) -> None:
        self._samples.setdefault(point, []).append(sample)
        if sample.failed > _TOO_MANY_FAILED * sample.tasks:
            raise FailingError(f"{sample.failed} tasks failed; the first one was answered {sample.failure}")

    def _best(self) -> Point:
        """The point that would be chosen by now: what comes next is compared with that, and not with a lucky run."""
        good = {found.point: found for found in self.measurements if not found.failed}
        return choose(good, self._space.baseline) if self._space.baseline in good else self._space.baseline

    def _expected(self, point: Point) -> float:
        taken = self._samples.get(point)
        if taken:
            return taken[-1].tasks_per_s
        return plan.guess_rate(point, self._own, self._cpus, self._limit_rate)


def grows(space: plan.Space, own: OwnTime, cpus: int, limit_rate: float | None) -> bool:
    """Whether more workers than the usual numbers may do more: the action waits, and no rate limit is what it waits
    for."""
    most = plan.guess_rate(msgspec.structs.replace(space.baseline, workers=max(space.values["workers"])), own, cpus)
    return space.may_grow and growth.waits(own) and (limit_rate is None or most < limit_rate)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
