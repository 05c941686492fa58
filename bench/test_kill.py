"""A task that does not end is killed on time: from its hard deadline to the end of its process p99 <= 10 ms, from there
until a new worker is ready p99 <= 30 ms; in pure Python that swallows its soft deadline, and in a C call.

Seen from outside: the action says in a pipe when it starts, the process is watched by pidfd, and ready is what the
daemon logs. Both stamps are a little late, so the first span comes out some 0.1 ms too short, the second too long.
"""

from __future__ import annotations

import itertools
import os
import select
import time
from pathlib import Path
from typing import IO

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.harness import SMOKE, Figure, Stage, alternate, conclude, rounds
from bench.provider import HANG_TIMEOUT_S

_GRACE_S = 0.02
_KILLS = 5 if SMOKE else 10  # in one round


def _wait_ready(log: IO[bytes]) -> float:
    """The moment at which the daemon says that a worker is ready, in seconds of the monotonic clock."""
    for line in log:
        if msgspec.json.decode(line)["event"] == "worker_ready":
            return time.monotonic()
    raise AssertionError("the daemon ended")


def _wait_gone(pid: int) -> float:
    """The moment at which a process has ended."""
    pidfd = os.pidfd_open(pid)
    try:
        gone, _, _ = select.select([pidfd], [], [], 10)
        assert gone, "the process was not killed"
        return time.monotonic()
    finally:
        os.close(pidfd)


@pytest.mark.parametrize("action", ["hang_python", "hang_c"])
def test_kill(benchmark: BenchmarkFixture, tmp_path: Path, action: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Open for writing, too: so an action that opens it never has to wait for us, and its end is never the end of file.
    with Stage() as stage, open(os.open(pipe, os.O_RDWR), encoding="ascii") as started:
        flags = ("--workers", "1", "--log-level", "debug", "--log-format", "json")
        daemon = stage.arbd("arbd", *flags, protocol="unary", kill_grace=str(_GRACE_S))
        log = daemon.stderr
        assert log is not None
        _wait_ready(log)

        def kill() -> tuple[float, float]:
            """Milliseconds from the hard deadline to the end of the process, and from there to the next one."""
            stage.submit_only("arbd", action, {"pipe": str(pipe)})
            pid, start_ns = map(int, started.readline().split())
            gone_at = _wait_gone(pid)
            late_s = gone_at - start_ns / 1e9 - HANG_TIMEOUT_S - _GRACE_S
            return late_s * 1e3, (_wait_ready(log) - gone_at) * 1e3

        (kills,) = alternate(benchmark, rounds(30), lambda: [kill() for _ in range(_KILLS)])
        log.close()
    what = "Python" if action == "hang_python" else "C"
    gone_ms, ready_ms = zip(*itertools.chain(*kills), strict=True)
    for name, goal, samples in (("deadline to process gone", 10.0, gone_ms), ("gone to worker ready", 30.0, ready_ms)):
        figure = Figure(f"kill, {what}: {name}, p99", "ms", "at most", goal, list(samples), quantile=0.99)
        figure.beside = {"p50 ms": figure.at(0.5), "p90 ms": figure.at(0.9), "most ms": max(samples)}
        conclude(benchmark, figure)
