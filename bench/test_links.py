"""The unary link spread over processes: with two of them the supervisor takes at most 20 µs of CPU per task, and that
does not grow with the number of workers, up to 64 that run 5 ms tasks, 12,800 a second."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from arbd.control.client import ask
from arbd.control.protocol import GetStatus, StatusReply
from arbd.control.reports import StatusReport
from arbd.errors import ControlError
from arbd.host.cpu_clock import used_s
from bench.harness import ROOT, SMOKE, Figure, Stage, alternate, conclude, rounds

_TASKS = 600 if SMOKE else 6_000
_WORKERS = (2, 8) if SMOKE else (2, 8, 16, 32, 64)
_PER_WORKER = 200  # tasks a second that take 5 ms
_LINKS = 2
_WARM_UP_S = 0.2 if SMOKE else 1.5
_MEASURE_S = 0.3 if SMOKE else 2.0
_START_TIMEOUT_S = 60.0


def test_links_supervisor_cpu(benchmark: BenchmarkFixture) -> None:
    """From a full hub, by turns with a supervisor that makes the calls itself, and with one that has links and nothing
    else (``bench.minimum``)."""
    cpu_us: dict[str, list[float]] = {"0": [], "2": [], "alone": []}
    with Stage() as stage:
        daemons = {
            links: stage.arbd(f"links-{links}", "--workers", "2", protocol="unary", hub_links=links)
            for links in ("0", "2")
        }
        daemons["alone"] = stage.minimum("links-alone", "links")

        def rate(links: str) -> float:
            pid = daemons[links].pid
            before = used_s(pid)
            tasks_per_s = stage.rate(f"links-{links}", "nothing", _TASKS)
            cpu_us[links].append((used_s(pid) - before) / _TASKS * 1e6)
            return tasks_per_s

        for links in cpu_us:
            stage.run(f"links-{links}", "nothing", 300)
        none, two, _ = alternate(benchmark, rounds(7), lambda: rate("0"), lambda: rate("2"), lambda: rate("alone"))
    figure = Figure("unary, two link processes: CPU of the supervisor", "µs", "at most", 20, cpu_us["2"])
    figure.beside = {
        "the same without link processes, µs": median(cpu_us["0"]),
        "link processes and nothing else, µs": median(cpu_us["alone"]),
        "tasks/s, two link processes": median(two),
        "tasks/s, none": median(none),
    }
    conclude(benchmark, figure)


class _Fed:
    """A daemon whose link processes make tasks up, as many as its workers can run. A context manager."""

    def __init__(self, workers: int, directory: str) -> None:
        self._workers = workers
        self._socket = Path(directory) / f"{workers}.sock"

    def __enter__(self) -> _Fed:
        rate = {"BENCH_LINK_RATE": str(self._workers * _PER_WORKER / _LINKS), "PYTHONPATH": str(ROOT)}
        arguments = (str(self._workers), str(_LINKS), str(self._socket))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.links_daemon", *arguments], cwd=ROOT, env={**os.environ, **rate}
        )
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        while self._accepted() == 0:
            assert time.monotonic() < give_up_at, "the daemon runs no tasks"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(_START_TIMEOUT_S)

    def _status(self) -> StatusReport:
        return ask(self._socket, GetStatus(), StatusReply).report

    def _accepted(self) -> int:
        try:
            return self._status().link.accepted
        except ControlError:
            return 0  # it is starting

    def measure(self) -> tuple[float, float]:
        """CPU of the supervisor per task in µs, and tasks per second, once all runs evenly."""
        time.sleep(_WARM_UP_S)
        begin, before, used = time.monotonic(), self._accepted(), used_s(self._process.pid)
        time.sleep(_MEASURE_S)
        used = used_s(self._process.pid) - used
        tasks, seconds = self._accepted() - before, time.monotonic() - begin
        return used / tasks * 1e6, tasks / seconds


def test_links_feed_many_workers(benchmark: BenchmarkFixture, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The hub and gRPC are left out, or two cores would not be enough."""
    cpu_us: dict[int, list[float]] = {workers: [] for workers in _WORKERS}
    rates: dict[int, list[float]] = {workers: [] for workers in _WORKERS}

    def sample(workers: int) -> float:
        with tempfile.TemporaryDirectory() as directory, _Fed(workers, directory) as fed:
            used_us, rate = fed.measure()
        cpu_us[workers].append(used_us)
        rates[workers].append(rate)
        return used_us

    fewest, most = _WORKERS[0], _WORKERS[-1]
    alternate(benchmark, rounds(3), *[lambda workers=workers: sample(workers) for workers in _WORKERS])
    grown = [many / few for many, few in zip(cpu_us[most], cpu_us[fewest], strict=True)]
    figure = Figure(f"CPU of the supervisor per task, {most} workers / {fewest}", "x", "at most", 1, grown)
    for workers in _WORKERS:
        figure.beside[f"{workers} workers: µs of the supervisor per task"] = median(cpu_us[workers])
        figure.beside[f"{workers} workers: tasks/s"] = median(rates[workers])
    conclude(benchmark, figure)
