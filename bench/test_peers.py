"""``python -m bench.peers`` runs to its end with those peers whose packages are here: arbd and the standard library's
pools at least. Its figures are those of ``make peers``, which brings all packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
from pytest_benchmark.fixture import BenchmarkFixture

from bench.harness import ROOT
from bench.peers import registry
from bench.peers.record import Record


def _is_here(name: str) -> bool:
    try:
        registry.find(name)
    except ImportError:
        return False
    return True


def test_peers(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    names = [name for name in registry.NAMES if _is_here(name)]
    file = tmp_path / "peers.json"
    command = [sys.executable, "-m", "bench.peers", "--short", "--only", ",".join(names), "--json", str(file)]
    run = benchmark.pedantic(subprocess.run, args=(command,), kwargs={"cwd": ROOT}, rounds=1)  # type: ignore[no-untyped-call] # it has no types
    record = msgspec.json.decode(file.read_bytes(), type=Record)
    assert {"arbd", "arbd-unary", "executor", "pool"} <= set(names)
    assert [(row.name, row.failures, len(row.speeds)) for row in record.rows] == [(name, [], 1) for name in names]
    assert run.returncode == 0
