"""Libraries imported at module top, in workers that are started by exec: at least 0.8 of what as many bare pinned
processes with one thread each make of the same calls; torch 0.5.

Such a worker has its CPU before it imports the module, so that pools which count the CPUs are of one thread. No
``*_NUM_THREADS`` is set for arbd: what an author who knows of no pool gets.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from statistics import median

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.harness import ROOT, SMOKE, Figure, Stage, alternate, conclude, cpu_s, ratios, rounds

_GOALS = {"numpy": 0.8, "lightgbm": 0.8, "sklearn": 0.8, "torch": 0.5}
_SPAN_S = 0.3 if SMOKE else 2.0
_CPUS = sorted(os.sched_getaffinity(0))[:2]
_POOL_SIZES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: What a machine may tell OpenBLAS about its CPU: both sides find out for themselves.
_OF_THE_MACHINE = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@contextmanager
def _bare(library: str) -> Iterator[list[subprocess.Popen[str]]]:
    """One process for each CPU, ready to call."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.bare_library", library, str(cpu)],
            cwd=ROOT,
            env={**os.environ, **dict.fromkeys(_POOL_SIZES, "1")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for cpu in _CPUS
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.communicate()


def _bare_rate(processes: list[subprocess.Popen[str]]) -> float:
    """Calls per second of all of them together; each calls for as long as ``_SPAN_S``."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{_SPAN_S}\n")
        process.stdin.flush()
    return sum(float(process.stdout.readline()) for process in processes if process.stdout is not None)


@pytest.mark.parametrize("library", _GOALS)
def test_libraries(benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    if find_spec(library) is None:
        pytest.skip(f"NOT MEASURED: {library} is not installed (make libraries; torch: pip install torch beside it)")
    for name in (*_POOL_SIZES, *_OF_THE_MACHINE):
        monkeypatch.delenv(name, raising=False)
    with Stage() as stage, _bare(library) as processes:
        flags = ("--workers", str(len(_CPUS)), "--", library)
        daemon = stage.arbd("arbd", *flags, protocol="stream", provider="libraries_provider.py")
        stage.run("arbd", "work", 10 * len(_CPUS))
        count = max(20, round(_bare_rate(processes) * _SPAN_S))
        ms_of_arbd: list[float] = []
        ms_of_bare: list[float] = []

        def arbd_rate() -> float:
            before = cpu_s(daemon.pid)
            rate = stage.rate("arbd", "work", count)
            ms_of_arbd.append((cpu_s(daemon.pid) - before) / count * 1e3)
            return rate

        def bare_rate() -> float:
            before = sum(cpu_s(process.pid) for process in processes)
            rate = _bare_rate(processes)
            ms_of_bare.append((sum(cpu_s(process.pid) for process in processes) - before) / (rate * _SPAN_S) * 1e3)
            return rate

        arbd, bare = alternate(benchmark, rounds(15), arbd_rate, bare_rate)
        [told] = stage.run("arbd", "threads", 1)
    figure = Figure(
        f"{library} at module top, workers by exec: arbd / bare processes",
        "x",
        "at least",
        _GOALS[library],
        ratios(arbd, bare),
    )
    figure.beside = {
        "arbd, calls/s": median(arbd),
        "bare processes with one thread, calls/s": median(bare),
        # Says the same on a machine with other load, where a share of the CPUs is mostly a matter of luck.
        "CPU of a bare call / of a call and all of arbd": median(ratios(ms_of_bare, ms_of_arbd)),
        "threads of a worker afterwards (one of them the provider's)": float(told.response["data"]),
    }
    conclude(benchmark, figure)
