"""Workers that are replaced after so many tasks, under full load: throughput at least 0.97 of that without, and no task
lost. Every 1,000 tasks of 1 ms, and every 20,000 trivial ones; each worker is replaced at least once in a round.

A task that failed or was lost ends the benchmark: all results are looked at.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.harness import SMOKE, Figure, Stage, alternate, conclude, ratios, rounds, rounds_of_burn

_WORKERS = 2
_CASES = {
    "1 ms": ("burn", 1_000),
    "trivial": ("nothing", 20_000),
}


@pytest.mark.parametrize("case", _CASES)
def test_recycling(benchmark: BenchmarkFixture, case: str) -> None:
    action, most = _CASES[case]
    if SMOKE:
        most //= 20 if action == "burn" else 4  # with fewer of them a fast machine does nothing but replace workers
    payload = {"rounds": rounds_of_burn(0.001)} if action == "burn" else {}
    count = 2 * most * _WORKERS
    with Stage(keep_finished=2 * count) as stage:
        for name, max_tasks in (("plain", 0), ("recycled", most)):
            flags = ("--workers", str(_WORKERS))
            stage.arbd(name, *flags, protocol="stream", worker_max_tasks=str(max_tasks))
            stage.rate(name, action, count // 10, payload)  # warm
        plain, recycled = alternate(
            benchmark,
            rounds(12),
            lambda: stage.rate("plain", action, count, payload),
            lambda: stage.rate("recycled", action, count, payload),
        )
    figure = Figure(f"recycling every {most} tasks, {case}: throughput", "", "at least", 0.97, ratios(recycled, plain))
    figure.beside = {"tasks/s without": sorted(plain)[len(plain) // 2]}
    conclude(benchmark, figure)
