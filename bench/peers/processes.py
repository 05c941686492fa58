"""Processes of a turn: workers and brokers in groups of their own, their CPU time, and the end of all of them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import psutil

from bench.peers.actions import DIRECTORY

ROOT: Final = Path(__file__).resolve().parent.parent.parent
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_GONE_S: Final = 5.0
_LOG_TAIL: Final = 600  # characters


def prctl(option: int, argument: int) -> None:
    """See prctl(2)."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none of them can hide."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Be killed when the process that started this one is."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def module(
    place: Path, name: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start ``python -m name``, its output in a file of ``place``."""
    variables = {**os.environ, DIRECTORY: str(place), "PYTHONPATH": str(ROOT), **(environment or {})}
    with open(place / "workers.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", name, *arguments],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def log_tail(place: Path) -> str:
    """The last words of the workers."""
    log = place / "workers.log"
    return log.read_text(errors="replace")[-_LOG_TAIL:].strip() if log.exists() else ""


def descendants(but: Collection[int | None] = ()) -> list[psutil.Process]:
    """All processes below this one, without some of them."""
    return [process for process in psutil.Process().children(recursive=True) if process.pid not in but]


def signal_all(processes: Collection[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to those that are still there."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            pass


def end_all() -> None:
    """Kill everything below this process, and wait until it is gone. Raises ``RuntimeError`` if that does not help."""
    give_up_at = time.monotonic() + _GONE_S
    while below := descendants():
        signal_all(below, signal.SIGKILL)
        psutil.wait_procs(below, timeout=0.2)
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"{len(below)} processes do not end")


class Spent:
    """CPU seconds used so far: by the caller (this process), by the broker, and by all, workers that ended included."""

    def __init__(self, broker_pid: int | None) -> None:
        here = psutil.Process().cpu_times()
        self.caller_s = here.user + here.system
        self.broker_s = 0.0
        self.all_s = self.caller_s + here.children_user + here.children_system
        for process in descendants():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            own_s = times.user + times.system
            self.all_s += own_s + times.children_user + times.children_system
            if process.pid == broker_pid:
                self.broker_s = own_s
