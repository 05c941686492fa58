"""The daemon of a campaign, with its log in a file, and what may be left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final

import psutil

from arbd.host.cpu_clock import used_ns
from bench.family import Family

ROOT: Final = Path(__file__).resolve().parents[2]
STOP_S: Final = 30.0


class Daemon:
    """A real ``arbd run`` in a directory of its own, as a context manager; it is drained at the end."""

    def __init__(self, directory: Path, hub: str, service: Path, *, workers: int) -> None:
        self.directory = directory
        self.exit_code: int | None = None
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("ARBD_", "PROVIDER_"))},
            "PYTHONPATH": str(ROOT),
            "ARBD_RUNTIME_DIR": str(directory / "run"),
            "ARBD_HUB_PROTOCOL": "stream",
            "ARBD_KILL_GRACE": "0.1",
            "ARBD_WORKER_MAX_FDS": "300",
            "ARBD_WORKER_MAX_MEMORY": "300MiB",
            "HOSTILE_DIRECTORY": str(directory),
            "HOSTILE_SERVICE": str(service),
        }
        flags = ["--hub", hub, "--workers", str(workers), "--log-format", "json"]
        self._command = [sys.executable, "-m", "arbd", "run", "bench.hostile.provider:provider", *flags]

    def __enter__(self) -> Daemon:
        for name in ("marks", "databases", "run"):
            (self.directory / name).mkdir()
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stderr=log, stdout=log
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self.exit_code = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def served_s(self) -> float:
        """Seconds of CPU that supervisor and zygote have used so far, for all workers together."""
        family = Family(self._process.pid)
        return sum(used_ns(pid) for pid in (family.supervisor, family.zygote)) / 1e9

    def has_ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def left_over(self) -> list[psutil.Process]:
        """Processes that it or its actions have left behind."""
        mark = f"HOSTILE_DIRECTORY={self.directory}".encode()
        found = []
        for process in psutil.process_iter():
            try:
                if mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                    found.append(process)
            except (OSError, psutil.NoSuchProcess):
                continue  # it ended while we looked, or belongs to somebody else
        return found
