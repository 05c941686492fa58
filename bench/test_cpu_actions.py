"""A CPU action of 5 ms on all cores: at least 0.95 of what as many bare processes make of the same function, 0.98 over
the stream."""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.harness import ROOT, SMOKE, Figure, Stage, alternate, conclude, cpu_s, ratios, rounds, rounds_of_burn

_ACTION_S = 0.005
_GOALS = {"unary": 0.95, "stream": 0.98}
_SPAN_S = 0.5 if SMOKE else 1.0
_CPUS = sorted(os.sched_getaffinity(0))


def _bare_rate(work: int) -> float:
    """Calls per second of all bare processes together."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.bare_burn", str(cpu), str(work), str(_SPAN_S)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        for cpu in _CPUS
    ]
    return sum(float(process.communicate()[0]) for process in processes)


@pytest.mark.parametrize("protocol", ["unary", "stream"])
def test_cpu_actions(benchmark: BenchmarkFixture, protocol: str) -> None:
    work = rounds_of_burn(_ACTION_S)
    count = round(len(_CPUS) * _SPAN_S / _ACTION_S)
    hub_us: list[float] = []
    arbd_us: list[float] = []
    with Stage() as stage:
        daemon = stage.arbd("arbd", protocol=protocol)
        stage.run("arbd", "burn", 50, {"rounds": work})

        def arbd_rate() -> float:
            hub, own = cpu_s(stage.hub.process.pid), cpu_s(daemon.pid)
            rate = stage.rate("arbd", "burn", count, {"rounds": work})
            hub_us.append((cpu_s(stage.hub.process.pid) - hub) / count * 1e6)
            arbd_us.append((cpu_s(daemon.pid) - own) / count * 1e6)
            return rate

        arbd, bare = alternate(benchmark, rounds(15), arbd_rate, lambda: _bare_rate(work))
    figure = Figure(
        f"5 ms CPU action, {protocol} hub: arbd / bare processes", "x", "at least", _GOALS[protocol], ratios(arbd, bare)
    )
    action_us = len(_CPUS) / median(bare) * 1e6
    figure.beside = {
        # The hub shares the cores, and stands on one side only: this is what would be left if arbd itself cost nothing.
        "the limit with this hub beside it": action_us / (action_us + median(hub_us)),
        "arbd, tasks/s": median(arbd),
        "bare processes, calls/s": median(bare),
        "CPU of the hub, µs/task": median(hub_us),
        "CPU of all of arbd, µs/task": median(arbd_us),
        "CPU of the action alone, µs": action_us,
    }
    conclude(benchmark, figure)
