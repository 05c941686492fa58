"""The measuring of a benchmark: stage by stage, round by round, around the best so far.

Decides nothing about statistics (``compare``, ``report``) and nothing about order (``plan``); it measures what they say
and keeps what was measured, so that an interrupted sweep still has something to say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from arbd.errors import ArbdError
from arbd.tuning import plan
from arbd.tuning.choose import choose
from arbd.tuning.record import Measurement, OwnTime, Point, Sample

_TOO_MANY_FAILED: Final = 0.5  # the share of failed tasks from which on nothing is measured any more

Measure = Callable[[Point, float], Awaitable[Sample]]
"""Takes one sample at a point, where so many tasks/s are expected."""


class FailingError(ArbdError):
    """Most tasks fail under the daemon, so what is measured are failures."""


class Sweep:
    """The course of one benchmark; ``measurements`` are there at any time. ``before``: told of each point just before
    it is measured."""

    def __init__(
        self, space: plan.Space, own: OwnTime, cpus: int, *, repeats: int, full: bool, before: Callable[[Point], None]
    ) -> None:
        self._space = space
        self._own = own
        self._cpus = cpus
        self._repeats = repeats
        self._full = full
        self._before = before
        self._samples: dict[Point, list[Sample]] = {}

    @property
    def measurements(self) -> list[Measurement]:
        """What has been measured so far, point by point in the order of their first samples."""
        return [Measurement(point, list(samples)) for point, samples in self._samples.items()]

    async def run(self, measure: Measure) -> None:
        """Measure everything. Raises ``FailingError``, and what ``measure`` raises."""
        for stage in plan.stages(self._space, full=self._full):
            for points in plan.rounds(plan.points(self._space, stage, self._best()), self._repeats):
                for point in points:
                    self._before(point)
                    self._keep(point, await measure(point, self._expected(point)))

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
        return taken[-1].tasks_per_s if taken else plan.guess_rate(point, self._own, self._cpus)
