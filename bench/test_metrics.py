"""Metrics: what counting costs, what a scrape of a large daemon takes, and what a scrape costs those who wait.

The scrape is measured where it is made, without a socket: 200 actions and 64 workers, whose memory and descriptors are
read from /proc for each. ``piece``: the longest that a probe waits behind it.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_benchmark.fixture import BenchmarkFixture

from arbd.control.exposition import Exposition, MetricFigures
from arbd.control.http import View
from arbd.control.reports import ActionReport, StatusReport, WorkerReport
from arbd.control.snapshot import Snapshot, encode
from arbd.core.metrics import TaskMetrics
from arbd.ipc.metrics_page import MetricsWriter, page_bytes
from arbd.model.flight import Flight
from arbd.model.link_stats import LinkStats
from arbd.testing import RunningProvider, running
from bench.harness import ROOT, Figure, alternate, conclude, ratios, rounds, timed

_ACTIONS = [f"action_{number}" for number in range(200)]
_WORKERS = 64
_TASKS = rounds(2_000, 50)
_SCRAPE_EVERY_S = 0.2
_BATCH = 20  # answers that are taken at once, under load


def _flight(action: str) -> Flight:
    return Flight("task-00000001", action, 1, 4711, "success", 1_234_567, 0, 1_300_000, 0, 51_234, 1_434_567)


def _page() -> tuple[TaskMetrics, View]:
    words = memoryview(bytearray(page_bytes(256, 1 << 20))).cast("Q")
    writer = MetricsWriter(words, 256)
    tasks = TaskMetrics(writer)
    tasks.offer(_ACTIONS)
    for action in _ACTIONS:
        tasks.finished([_flight(action)])
    for slot in range(_WORKERS):
        tasks.add_to_slot(slot, (1, 1, 1, 1))
    tasks.publish()
    workers = [WorkerReport(slot, os.getpid(), (slot,), "serving", 5.0, 9, 1, 1, 0) for slot in range(_WORKERS)]
    status = StatusReport(
        *("shop", "1", 1, "serving", 9.0, "h:1", LinkStats(), workers, 0, 0, 0, 1, {}),
        actions=[ActionReport(action) for action in _ACTIONS],
    )
    writer.write_snapshot(encode(Snapshot(time.time(), status)), time.monotonic_ns())
    return tasks, View(words)


def test_counting_a_task(benchmark: BenchmarkFixture) -> None:
    tasks, _ = _page()
    count, most = tasks.finished, rounds(5_000, 5)

    batch = [_flight("action_7")] * _BATCH

    def one_round() -> float:
        return timed(lambda: count(batch), most) * 1e9 / _BATCH

    [taken] = alternate(benchmark, rounds(20), one_round)
    conclude(benchmark, Figure("counting a task", "ns", "at most", 800, taken))


def test_a_scrape_of_64_workers_and_200_actions(benchmark: BenchmarkFixture) -> None:
    _, view = _page()
    text = Exposition()
    longest: list[float] = []

    def scrape() -> float:
        begun_at = at = time.perf_counter()
        figures: MetricFigures = view.figures()
        for _ in text.pieces(figures):
            now = time.perf_counter()
            longest.append((now - at) * 1e3)
            at = now
        return (time.perf_counter() - begun_at) * 1e3

    [taken] = alternate(benchmark, rounds(30), scrape)
    piece = {"longest piece, ms": statistics.median(sorted(longest)[-len(taken) :])}
    conclude(benchmark, Figure("a scrape: 64 workers, 200 actions", "ms", "at most", 100, taken, beside=piece))


@contextmanager
def _scraped(daemon: RunningProvider) -> Iterator[None]:
    """Inside the block the daemon is scraped, over and over."""
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(_SCRAPE_EVERY_S):
            with urllib.request.urlopen(f"http://{daemon.daemon.metrics_address}/metrics", timeout=10) as answer:
                answer.read()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _p99_us(daemon: RunningProvider) -> float:
    taken = []
    for _ in range(_TASKS):
        begun_at = time.perf_counter()
        daemon.run("nothing", {})
        taken.append((time.perf_counter() - begun_at) * 1e6)
    return sorted(taken)[len(taken) * 99 // 100]


def test_one_task_at_a_time_while_it_is_scraped(benchmark: BenchmarkFixture) -> None:
    with running(ROOT / "bench" / "provider.py", workers=1, metrics_listen="0", log_level="error") as daemon:

        def quiet() -> float:
            return _p99_us(daemon)

        def scraped() -> float:
            with _scraped(daemon):
                return _p99_us(daemon)

        alone, beside = alternate(benchmark, rounds(7), quiet, scraped)
    p99 = {"alone, µs": statistics.median(alone), "scraped, µs": statistics.median(beside)}
    slower = ratios(beside, alone)
    conclude(benchmark, Figure("p99 of one task at a time, scraped / alone", "x", "at most", 1.2, slower, beside=p99))
