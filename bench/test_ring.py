"""The ring moves 200-byte messages at least twice as fast as faster-fifo (put one, get many)."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.harness import ROOT, SMOKE, Figure, alternate, conclude, ratios, rounds

_MESSAGES = 20_000 if SMOKE else 400_000


def _race(kind: str, processes: str) -> float:
    """Messages per second."""
    command = [sys.executable, "-m", "bench.ring_race", kind, processes, str(_MESSAGES)]
    return _MESSAGES / float(subprocess.check_output(command, cwd=ROOT))


@pytest.mark.parametrize("processes", ["one", "two"])
def test_ring_against_faster_fifo(benchmark: BenchmarkFixture, processes: str) -> None:
    ring, fifo = alternate(
        benchmark, rounds(11), lambda: _race("ring", processes), lambda: _race("faster-fifo", processes)
    )
    name = f"ring / faster-fifo, {processes} process{'es' if processes == 'two' else ''}"
    figure = Figure(name, "x", "at least", 2.0, ratios(ring, fifo))
    figure.beside = {"ring, messages/s": sorted(ring)[len(ring) // 2], "faster-fifo": sorted(fifo)[len(fifo) // 2]}
    conclude(benchmark, figure)
