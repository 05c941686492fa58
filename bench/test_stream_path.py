"""Trivial tasks with a schema, a deadline and metrics, over the stream, on cores shared by hub, supervisor and two
workers: at least 50,000 a second from a full hub, with at most 15 µs of CPU each in the supervisor and 10 in a worker;
and one at a time, hub to hub, 250 µs (median) and 600 µs (99 of 100)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from statistics import median

import psutil
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from arbd.host.cpu_clock import used_s
from arbd.hub.board import NewTask
from arbd.hub.server import EmbeddedHub
from bench.harness import SMOKE, Figure, Stage, alternate, conclude, rounds

_TASKS = 4_000 if SMOKE else 80_000
_PAYLOAD = {"symbol": "EURUSD", "quantity": 12.5, "tags": ["a", "b"]}
_LOOK_S = 0.01


class _Use:
    """Tasks that wait at the hub, and CPU seconds used so far by supervisor, workers and hub, at one moment."""

    def __init__(self, stage: Stage, daemon: subprocess.Popen[bytes]) -> None:
        self.at = time.perf_counter()
        self.queued = stage.stats()["queued"]
        family = psutil.Process(daemon.pid).children(recursive=True)
        workers = [process for process in family if process.name().startswith("arbd:worker")]
        self.workers = sum(used_s(process.pid) for process in workers)
        self.supervisor = used_s(daemon.pid)
        self.hub = used_s(stage.hub.process.pid)


def _wait_below(stage: Stage, queued: int) -> None:
    while stage.stats()["queued"] > queued:
        time.sleep(_LOOK_S)


def test_stream_path(benchmark: BenchmarkFixture) -> None:
    """The hub is filled first, and the daemon started then: nothing else is submitted meanwhile."""
    used: dict[str, list[float]] = {"supervisor": [], "workers": [], "hub": []}
    with Stage() as stage:

        def rate() -> float:
            stage.fill("arbd", "quote", _PAYLOAD, _TASKS)
            daemon = stage.arbd("arbd", "--workers", "2", protocol="stream")
            _wait_below(stage, _TASKS * 9 // 10)
            first = _Use(stage, daemon)
            _wait_below(stage, _TASKS // 10)
            last = _Use(stage, daemon)
            _wait_below(stage, 0)
            stage.end(daemon)
            tasks = first.queued - last.queued
            for who, samples in used.items():
                samples.append((getattr(last, who) - getattr(first, who)) / tasks * 1e6)
            return tasks / (last.at - first.at)

        (rates,) = alternate(benchmark, rounds(9), rate)
    figure = Figure("stream, full hub, two workers", "/s", "at least", 50_000, rates)
    figure.beside = {f"CPU of {who}, µs/task": median(samples) for who, samples in used.items()}
    conclude(benchmark, figure)
    conclude(benchmark, Figure("stream: CPU of the supervisor per task", "µs", "at most", 15, used["supervisor"]))
    conclude(benchmark, Figure("stream: CPU of a worker per task", "µs", "at most", 10, used["workers"]))


class _OneAtATime:
    """A hub in this process, where a task is put on the board the moment the verdict on the last one came."""

    async def start(self) -> None:
        self.hub = EmbeddedHub()
        await self.hub.start()

    async def run(self, provider: str, count: int) -> list[float]:
        """So many tasks of one provider, each timed from its submission to its verdict, in µs."""
        hub, task = self.hub, NewTask("quote", json.dumps(_PAYLOAD).encode(), provider=provider)
        taken_us = []
        for _ in range(count):
            begin = time.perf_counter()
            batch, _ = hub.board.submit([task], time.monotonic())
            await hub.verdicts(batch)
            taken_us.append((time.perf_counter() - begin) * 1e6)
        return taken_us


def test_stream_latency(benchmark: BenchmarkFixture) -> None:
    """Beside it stands what the least provider with a worker process takes (``bench.minimum``)."""
    p99: list[float] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, Stage() as stage:
        line = _OneAtATime()
        runner.run(line.start())
        stage.arbd("arbd", "--workers", "2", "--hub", line.hub.address, protocol="stream")
        stage.minimum("minimum", "stream", line.hub.address)
        for provider in ("arbd", "minimum"):
            runner.run(line.run(provider, 200))

        def of_arbd() -> float:
            taken = sorted(runner.run(line.run("arbd", rounds(200, 10))))
            p99.append(taken[int(0.99 * len(taken))])
            return median(taken)

        p50, least = alternate(
            benchmark, rounds(40), of_arbd, lambda: median(runner.run(line.run("minimum", rounds(200, 10))))
        )
        runner.run(line.hub.stop())
    figure = Figure("stream, one task at a time, p50", "µs", "at most", 250, p50)
    figure.beside = {"the least with a worker process, p50 µs": median(least)}
    conclude(benchmark, figure)
    conclude(benchmark, Figure("stream, one task at a time, p99", "µs", "at most", 600, p99))
