"""One task at a time at a unary hub: what arbd adds beyond the two bare calls is at most 150 µs (median)."""

from __future__ import annotations

import random
import time
from statistics import median

from pytest_benchmark.fixture import BenchmarkFixture

from bench.harness import Figure, Stage, alternate, conclude, rounds

_PAUSE_S = 0.002  # the hub's answer to the last result is on its way still, and so is the next poll
_SAMPLE = 20  # tasks whose median makes one sample


def test_latency(benchmark: BenchmarkFixture) -> None:
    with Stage() as stage:
        stage.arbd("arbd", protocol="unary")
        stage.bare("bare", 1)

        def one(provider: str) -> float:
            """Microseconds from submission to verdict, by the hub's own clock."""
            time.sleep(_PAUSE_S)
            return stage.run(provider, "nothing", 1)[0].taken_s * 1e6

        for provider in ("arbd", "bare"):
            for _ in range(100):
                one(provider)

        def sample() -> tuple[float, float]:
            """The medians of both sides."""
            taken: dict[str, list[float]] = {"arbd": [], "bare": []}
            for provider in random.sample(["arbd", "bare"] * _SAMPLE, 2 * _SAMPLE):  # who comes next finds warm caches
                taken[provider].append(one(provider))
            return median(taken["arbd"]), median(taken["bare"])

        (medians,) = alternate(benchmark, rounds(60, 3), sample)
    added = [arbd - bare for arbd, bare in medians]
    figure = Figure("one task at a time: time added, p50", "µs", "at most", 150.0, added)
    figure.beside = {
        "arbd, p50 µs": median(arbd for arbd, _ in medians),
        "two bare calls, p50 µs": median(bare for _, bare in medians),
    }
    conclude(benchmark, figure)
