"""What a task costs does not depend on the size of things: 1 to 64 workers, 1 to 5,000 actions, 100 bytes to 10 MB, 0
to 1 s. It stays flat, or follows the bytes; shown as ratios of CPU time in one run, with more workers than cores."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from statistics import median

from pytest_benchmark.fixture import BenchmarkFixture

from bench.harness import SMOKE, Figure, Stage, alternate, conclude, ratios, rounds
from bench.scale_rig import Cost, Point, measure

_MIB = 1 << 20
_ROUNDS = rounds(3)
_WORKERS = (2, 8) if SMOKE else (2, 1, 8, 16, 32, 64)  # what is compared with comes first
_ACTIONS = (1, 100) if SMOKE else (1, 100, 5_000)
_BYTES = (100, 100_000) if SMOKE else (100, 1_000, 10_000, 100_000, _MIB, 10 * _MIB)
_NAPS = (0.0, 0.01) if SMOKE else (0.0, 0.001, 0.01, 0.1, 1.0)


def _take(benchmark: BenchmarkFixture, points: Mapping[str, Point], **hub: int) -> dict[str, list[Cost]]:
    """The costs of each point, from rounds in which they take turns."""
    with Stage(**hub) as stage:
        samples = alternate(benchmark, _ROUNDS, *(partial(measure, stage, point) for point in points.values()))
    return dict(zip(points, samples, strict=True))


def _of_supervisor(costs: list[Cost]) -> list[float]:
    return [cost.supervisor_us for cost in costs]


def _of_workers(costs: list[Cost]) -> list[float]:
    return [cost.worker_us for cost in costs]


def _beside(costs: Mapping[str, list[Cost]]) -> dict[str, float]:
    """Medians of every point: what the ratios are made of."""
    found = {}
    for name, samples in costs.items():
        found[f"{name}: supervisor, µs/task"] = median(_of_supervisor(samples))
        found[f"{name}: workers, µs/task"] = median(_of_workers(samples))
        found[f"{name}: tasks/s"] = median([sample.rate for sample in samples])
    return found


def test_workers(benchmark: BenchmarkFixture) -> None:
    """Trivial tasks, more and more workers."""
    tasks = 16_000 if SMOKE else 80_000  # fewer may be over between two looks
    points = {f"{workers} workers": Point(tasks, workers) for workers in _WORKERS}
    costs = _take(benchmark, points)
    base, *others = costs
    for name in others:
        figure = Figure(f"supervisor CPU per task: {name} / {base}", "x", "at most", 1.5, _ratio(costs, name, base))
        figure.beside = _beside(costs) if name == others[-1] else {}
        conclude(benchmark, figure)


def test_workers_at_one_rate(benchmark: BenchmarkFixture) -> None:
    """8 workers that sleep 1 ms, and 64 that sleep 8: as many tasks/s, so only the number of workers differs."""
    few, many = (2, 8) if SMOKE else (8, 64)
    tasks = 1_000 if SMOKE else 20_000
    points = {
        f"{workers} workers": Point(tasks, workers, action="nap", payload={"seconds": workers / 8_000})
        for workers in (few, many)
    }
    costs = _take(benchmark, points)
    base, name = costs
    figure = Figure(
        f"supervisor CPU per task, one rate: {name} / {base}", "x", "at most", 1.2, _ratio(costs, name, base)
    )
    figure.beside = _beside(costs)
    conclude(benchmark, figure)


def test_actions(benchmark: BenchmarkFixture) -> None:
    """More and more actions registered, the tasks spread over all of them."""
    tasks = 8_000 if SMOKE else 120_000
    # Looked at when each worker has met each action: what it makes for one at their first meeting is not per task.
    points = {f"{registered} actions": Point(tasks, registered=registered, warm=0.6) for registered in _ACTIONS}
    costs = _take(benchmark, points)
    base, *others = costs
    for name in others:
        figure = Figure(f"supervisor CPU per task: {name} / {base}", "x", "at most", 1.5, _ratio(costs, name, base))
        figure.beside = _beside(costs) if name == others[-1] else {}
        conclude(benchmark, figure)


def test_payloads(benchmark: BenchmarkFixture) -> None:
    """The same bytes there and back: what a byte costs is the same for large payloads and for larger ones."""
    points = {
        f"{size:,} bytes": Point(
            _tasks_of(size),
            action="echo",
            payload={"text": "x" * size},
            settings={"max_payload": str(16 * _MIB), "max_result": str(16 * _MIB)},
        )
        for size in _BYTES
    }
    costs = _take(benchmark, points, max_message=64 * _MIB, keep_finished=50)
    beside = _beside(costs)
    for size, name in zip(_BYTES, costs, strict=True):
        beside[f"{name}: supervisor, ns/byte"] = beside[f"{name}: supervisor, µs/task"] * 1e3 / size
        beside[f"{name}: workers, ns/byte"] = beside[f"{name}: workers, µs/task"] * 1e3 / size
    large, largest = list(costs)[-2:]
    per_byte = _BYTES[-2] / _BYTES[-1]
    slope = [ratio * per_byte for ratio in _ratio(costs, largest, large)]
    figure = Figure(f"supervisor CPU per byte: {largest} / {large}", "x", "at most", 1.25, slope)
    figure.beside = beside
    conclude(benchmark, figure)


def _tasks_of(size: int) -> int:
    """Enough for a second or two."""
    largest = 2_000 if SMOKE else 20_000
    return max(20, min(largest, (20 if SMOKE else 200) * _MIB // size))


def test_durations(benchmark: BenchmarkFixture) -> None:
    """64 workers that sleep for a while: the longer, the fewer tasks/s, and the smaller the supervisor's share of a
    core, though a task that comes alone costs more than one in a batch."""
    workers = 4 if SMOKE else 64
    points = {
        f"{nap:g} s": Point(_tasks_in(workers, nap), workers, action="nap", payload={"seconds": nap}) for nap in _NAPS
    }
    costs = _take(benchmark, points)
    for name, samples in costs.items():
        share = [sample.supervisor_us * sample.rate / 1e4 for sample in samples]
        figure = Figure(f"supervisor's share of a core, {workers} workers, {name}", "%", "at most", 100, share)
        figure.beside = _beside({name: samples})
        conclude(benchmark, figure)


def _tasks_in(workers: int, nap: float) -> int:
    """What so many workers do in about two seconds, or five naps."""
    if SMOKE:
        return 500 if nap else 8_000
    return max(5 * workers, min(60_000, int(2 * workers / nap) if nap else 60_000))


def _ratio(costs: Mapping[str, list[Cost]], name: str, base: str) -> list[float]:
    return ratios(_of_supervisor(costs[name]), _of_supervisor(costs[base]))
