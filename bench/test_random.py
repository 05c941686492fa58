"""How many random numbers are drawn by one worker only, of 64 workers and their successors, three generations at least:
all of them, whether they come from ``random``, from ``numpy.random`` (both seeded by the import) or from a generator
that the import has made without a seed.
"""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from bench.harness import SMOKE, Figure, Stage, alternate, conclude, rounds

_WORKERS = 8 if SMOKE else 64
_GENERATIONS = 3
_MAX_TASKS = 20  # of a worker; half as many at least, for they differ by that


def test_random(benchmark: BenchmarkFixture) -> None:
    count = _WORKERS * _MAX_TASKS * (_GENERATIONS + 1)
    with Stage() as stage:
        flags = ("--workers", str(_WORKERS), "--no-pin")
        stage.arbd("random", *flags, protocol="stream", provider="random_provider.py", worker_max_tasks=str(_MAX_TASKS))

        def distinct() -> float:
            """The share of numbers that were drawn once."""
            drawn = [result.response["data"] for result in stage.run("random", "draw", count)]
            assert len({pid for pid, *_ in drawn}) >= _WORKERS * _GENERATIONS
            numbers = [number for _, *numbers in drawn for number in numbers]
            return len(set(numbers)) / len(numbers)

        (shares,) = alternate(benchmark, rounds(3), distinct)
    figure = Figure("random numbers drawn once, of all", "", "at least", 1.0, shares, quantile=0.0)
    figure.beside = {"numbers": 3.0 * count * len(shares), "workers": float(_WORKERS)}
    conclude(benchmark, figure)
