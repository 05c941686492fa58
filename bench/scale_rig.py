"""One point of a scale: the real daemon of that size, started beside a hub that is full, and what a task costs there.

    hub filled ─> arbd run ─> a quarter of the results are there ──measured──> nine tenths are there ─> stop

Cost is CPU time, not time: of the supervisor and of all workers, divided by the results that came meanwhile. So more
workers than cores can be simulated, and other work on the machine matters little (through the caches).
"""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

from bench.family import Family, Spent, Use
from bench.harness import Stage

PROVIDER = "scale_provider.py"
_LOOK_S = 0.01
_END = 0.9  # of all tasks: then the rings run dry
_TIMEOUT_S = 120.0


class Point(msgspec.Struct, frozen=True):
    """What is run: ``registered`` actions besides the special ones, of which ``tasks`` go round, or one action."""

    tasks: int
    workers: int = 2
    registered: int = 1
    action: str = ""  # empty: all of those registered, in turn
    payload: Any = msgspec.field(default_factory=lambda: {"symbol": "EURUSD", "quantity": 12.5, "tags": ["a", "b"]})
    settings: dict[str, str] = {}
    warm: float = 0.25  # the part of all tasks after which it is looked at


class Cost(msgspec.Struct, frozen=True):
    """Per task: CPU of the supervisor and of the workers in µs; wake-ups of them. ``rate``: tasks/s."""

    rate: float
    supervisor_us: float
    worker_us: float
    supervisor_wakeups: float
    worker_wakeups: float


class _Progress:
    """How many results the hub has got since this was made."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._before = self._results()

    def _results(self) -> int:
        return self._stage.stats().get("stream results", 0)

    def now(self) -> int:
        return self._results() - self._before

    def wait(self, results: int) -> None:
        give_up_at = time.monotonic() + _TIMEOUT_S
        while self.now() < results:
            assert time.monotonic() < give_up_at, f"{self.now()} of {results} results came"
            time.sleep(_LOOK_S)


def measure(stage: Stage, point: Point) -> Cost:
    """Run one point."""
    actions = point.action or [f"quote-{number}" for number in range(point.registered)]
    progress = _Progress(stage)
    stage.fill("scale", actions, point.payload, point.tasks)
    os.environ["BENCH_ACTIONS"] = str(point.registered)
    settings: dict[str, Any] = {"workers": str(point.workers), **point.settings}
    daemon = stage.arbd("scale", protocol="stream", provider=PROVIDER, **settings)
    progress.wait(round(point.tasks * point.warm))
    family = Family(daemon.pid)
    first, done = Use.of(family), progress.now()
    progress.wait(round(point.tasks * _END))
    spent, tasks = Spent.between(first, Use.of(family)), max(1, progress.now() - done)  # tiny runs end at once
    progress.wait(point.tasks)
    stage.end(daemon)
    assert len(family.workers) == point.workers, "a worker was lost on the way"
    return Cost(
        rate=tasks / spent.seconds,
        supervisor_us=spent.cpu_s["supervisor"] / tasks * 1e6,
        worker_us=spent.cpu_of_workers_s() / tasks * 1e6,
        supervisor_wakeups=spent.wakeups["supervisor"] / tasks,
        worker_wakeups=spent.wakeups_of_workers() / tasks,
    )
