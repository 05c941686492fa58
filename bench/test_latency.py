"""One task at a time at a unary hub: what arbd adds beyond the two bare calls is at most 150 µs (median).

Beside it stands what the least provider with a worker process adds (``bench.minimum``): the limit on this machine."""

from __future__ import annotations

import random
import time
from statistics import median

from pytest_benchmark.fixture import BenchmarkFixture

from bench.harness import Figure, Stage, alternate, conclude, rounds

_PAUSE_S = 0.002  # the hub's answer to the last result is on its way still, and so is the next poll
_SAMPLE = 20  # tasks whose median makes one sample
_SIDES = ("arbd", "minimum", "bare")


def test_latency(benchmark: BenchmarkFixture) -> None:
    with Stage() as stage:
        stage.arbd("arbd", protocol="unary")
        stage.minimum("minimum", "unary")
        stage.bare("bare", 1)

        def one(provider: str) -> float:
            """Microseconds from submission to verdict, by the hub's own clock."""
            time.sleep(_PAUSE_S)
            return stage.run(provider, "nothing", 1)[0].taken_s * 1e6

        for provider in _SIDES:
            for _ in range(100):
                one(provider)

        def sample() -> dict[str, float]:
            """The median of each side."""
            taken: dict[str, list[float]] = {provider: [] for provider in _SIDES}
            # In no order that could be learnt: who comes next finds warm caches.
            for provider in random.sample(_SIDES * _SAMPLE, len(_SIDES) * _SAMPLE):
                taken[provider].append(one(provider))
            return {provider: median(times) for provider, times in taken.items()}

        (medians,) = alternate(benchmark, rounds(60, 3), sample)
    added = [each["arbd"] - each["bare"] for each in medians]
    figure = Figure("one task at a time: time added, p50", "µs", "at most", 150.0, added)
    figure.beside = {
        "added by the least with a worker process, p50 µs": median(each["minimum"] - each["bare"] for each in medians),
        "arbd, p50 µs": median(each["arbd"] for each in medians),
        "two bare calls, p50 µs": median(each["bare"] for each in medians),
    }
    conclude(benchmark, figure)
