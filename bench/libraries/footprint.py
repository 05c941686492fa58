"""What a worker costs whose module has a library at its top: memory of its own, and the time until it is replaced."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from arbd.testing import RunningProvider, running
from bench.harness import ROOT
from bench.libraries.jobs import SLEEP_S
from bench.libraries.rows import Footprint

LIBRARIES: Final = ("numpy", "scikit-learn", "torch")
_TIMEOUT_S: Final = 120.0
_CALLS: Final = 20


def measure(library: str, times: int, on_round: Callable[[], None]) -> Footprint:
    """Measure it; ``on_round`` is called after each replacement."""
    with running(ROOT / "bench/libraries/provider.py", argv=[library, "at the top"], pin=True) as daemon:
        own_mb = _own_mb(daemon.worker_pids[0])
        by_exec = _about(daemon)["by_exec"]
        for _ in range(_CALLS):
            daemon.run("work", timeout=_TIMEOUT_S)
        after_mb = _own_mb(daemon.worker_pids[0])
        replaced_ms = []
        for _ in range(times):
            pid = _about(daemon)["pid"]
            begin = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            while _about(daemon)["pid"] == pid:
                pass
            replaced_ms.append((time.perf_counter() - begin - SLEEP_S) * 1e3)
            on_round()
    return Footprint(library, by_exec, own_mb, after_mb, replaced_ms)


def _about(daemon: RunningProvider) -> dict[str, Any]:
    while (response := daemon.run("about", timeout=_TIMEOUT_S)).status != "success":
        pass  # it was being killed
    return dict(response.data)


def _own_mb(pid: int) -> float:
    """Memory that a process shares with no other."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    private = [line.split() for line in rollup.splitlines() if line.startswith("Private_")]
    return sum(int(words[1]) for words in private) / 1024
