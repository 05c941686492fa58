"""A daemon that has nothing to do uses less than 0.5 % of one core, with 64 workers and a limit of every kind: over the
stream, at a unary hub, and while the hub is down. No worker wakes up at all."""

from __future__ import annotations

import subprocess
import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.family import Family, Spent, Use
from bench.harness import SMOKE, Figure, Stage, alternate, conclude
from bench.idle_provider import ACTIONS

_WORKERS = 8 if SMOKE else 64
_WINDOW_S = 3.0 if SMOKE else 60.0
_SETTLE_S = 3.0  # the last lazy timer of a worker, which stands at its last task's deadline; the link's first heartbeat
_BOOT_TIMEOUT_S = 60.0
_NOBODY = "127.0.0.1:9"  # the discard port, where nothing listens


def test_idle(benchmark: BenchmarkFixture) -> None:
    """All three at the same time; each is measured by its own processes alone."""
    with Stage() as stage:
        flags = ("--workers", str(_WORKERS))
        daemons = {
            "stream": stage.arbd("stream", *flags, protocol="stream", provider="idle_provider.py"),
            "unary hub": stage.arbd("unary", *flags, protocol="unary", provider="idle_provider.py"),
            "hub down": stage.arbd("down", *flags, "--hub", _NOBODY, protocol="auto", provider="idle_provider.py"),
        }
        families = {name: _complete(daemon) for name, daemon in daemons.items()}
        for provider in ("stream", "unary"):
            for action in ACTIONS:
                stage.run(provider, action, 4 * _WORKERS)  # it was busy, and every limit was asked for something
        time.sleep(_SETTLE_S)

        def window() -> dict[str, Spent]:
            before = {name: Use.of(family) for name, family in families.items()}
            time.sleep(_WINDOW_S)
            return {name: Spent.between(before[name], Use.of(family)) for name, family in families.items()}

        ((spent,),) = alternate(benchmark, 1, window)
    for name in daemons:
        _conclude(benchmark, name, spent[name])


def _complete(daemon: subprocess.Popen[bytes]) -> Family:
    give_up_at = time.monotonic() + _BOOT_TIMEOUT_S
    while len((family := Family(daemon.pid)).workers) < _WORKERS:
        if time.monotonic() > give_up_at:
            pytest.fail(f"{len(family.workers)} of {_WORKERS} workers came up")
        time.sleep(0.05)
    return family


def _conclude(benchmark: BenchmarkFixture, name: str, spent: Spent) -> None:
    share = sum(spent.cpu_s.values()) / spent.seconds * 100
    figure = Figure(f"idle, {_WORKERS} workers, {name}: all processes", "%", "at most", 0.5, [share])
    figure.beside = {
        "CPU of the supervisor, % of one core": spent.cpu_s["supervisor"] / spent.seconds * 100,
        "wake-ups of the supervisor's threads, gRPC's included, per second": spent.wakeups["supervisor"]
        / spent.seconds,
        "wake-ups of the zygote, in all": spent.wakeups["zygote"],
        "wake-ups of all workers, in all": spent.wakeups_of_workers(),
    }
    conclude(benchmark, figure)
