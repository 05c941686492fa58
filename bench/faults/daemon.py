"""The daemon of a campaign: a real ``arbd run`` with a provider's file and a runtime directory of its own.

    directory/   provider.py   what it runs; broken now and then
                 run/          its runtime directory
                 marks         what the actions note
                 log           what it wrote to stderr, as far as anybody read it

Its stderr is a pipe of one page, which this process reads, or does not. It is started again whenever it has ended.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import psutil

ROOT: Final = Path(__file__).resolve().parents[2]
_PIPE_BYTES: Final = 4096  # the smallest there is: full at once
_CHUNK: Final = 1 << 16
_POLL_S: Final = 0.02
_PREFIX: Final = "arbd:"


class Ended(msgspec.Struct, frozen=True):
    """A daemon that ended by itself: when (seconds of the monotonic clock), with which exit code, and whether its log
    has a traceback."""

    at: float
    code: int
    traceback: bool


def _environment() -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("ARBD_", "PROVIDER_"))}
    return {**clean, "PYTHONPATH": str(ROOT)}


class Daemon:
    """See the module. ``ended``: each time it ended by itself."""

    def __init__(self, directory: Path, hub: str, *, protocol: str, workers: int) -> None:
        self.directory = directory
        self.runtime_dir = directory / "run"
        self.provider = directory / "provider.py"
        self.marks = directory / "marks"
        self.ended: list[Ended] = []
        self.workers = workers
        self._settings = {
            "ARBD_HUB_PROTOCOL": protocol,
            "ARBD_RUNTIME_DIR": str(self.runtime_dir),
            "ARBD_KILL_GRACE": "0.1",
            "FAULTS_MARKS": str(self.marks),
        }
        self._hub = hub
        self._source = Path(__file__).with_name("provider.py").read_text()
        self._log = (directory / "log").open("ab")
        self._stderr = -1
        self._is_read = True
        self._stalled_until = 0.0
        self._log_begins = 0
        self._process: subprocess.Popen[bytes]

    # -- its life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, with a provider that can be imported and a log that is read."""
        self.write_provider()
        self._log_begins = self._log.tell()
        self._stderr, theirs = os.pipe()
        fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self._stderr, False)
        flags = ["--hub", self._hub, "--name", "faults", "--workers", str(self.workers), "--no-pin"]
        flags += ["--log-format", "json", "--log-level", "info"]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "arbd", "run", str(self.provider), *flags],
                cwd=self.directory,
                env={**_environment(), **self._settings},
                stdin=subprocess.DEVNULL,
                stderr=theirs,
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        self.read_log()

    def has_ended(self) -> bool:
        """Whether it has ended; then this is noted, and it can be started again."""
        code = self._process.poll()
        if code is None:
            return False
        self._close_log()
        text = (self.directory / "log").read_bytes()[self._log_begins :]
        # Nobody read, so lines were lost: then the exit code has to be enough.
        unread = time.monotonic() < self._stalled_until
        self.ended.append(Ended(time.monotonic(), code, b"Traceback (most recent call last)" in text or unread))
        return True

    async def stop(self, timeout_s: float) -> int | None:
        """Have it drain and stop: its exit code; ``None`` if it did not within this time, and was killed."""
        self._process.send_signal(signal.SIGTERM)
        give_up_at = time.monotonic() + timeout_s
        while True:
            code = self._process.poll()
            if code is not None or time.monotonic() > give_up_at:
                break
            await asyncio.sleep(_POLL_S)
        self.kill()
        return code

    def kill(self) -> None:
        """End all of it, now."""
        self._process.kill()
        self._process.wait()
        for process in self.left_over():
            send(process, signal.SIGKILL)
        self._close_log()

    def left_over(self) -> list[psutil.Process]:
        """Processes that it started and that are still there, whoever is their parent now."""
        mark = f"FAULTS_MARKS={self.marks}".encode()
        found = []
        for process in psutil.process_iter():
            try:
                if mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                    found.append(process)
            except (OSError, psutil.NoSuchProcess):
                continue  # it ended while we looked, or belongs to somebody else
        return found

    # -- its processes -----------------------------------------------------------------------------------------------

    @property
    def supervisor(self) -> psutil.Process:
        """The process that was started."""
        return psutil.Process(self._process.pid)

    def family(self) -> Iterator[psutil.Process]:
        """All its processes at this moment, the supervisor first."""
        try:
            supervisor = self.supervisor
            yield supervisor
            yield from supervisor.children(recursive=True)
        except psutil.NoSuchProcess:
            return

    def all_of(self, role: str) -> list[psutil.Process]:
        """Those whose name begins so, such as ``zygote`` or ``worker``, oldest first."""
        found = []
        for process in list(self.family())[1:]:
            try:
                if process.name().startswith(_PREFIX + role):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    # -- what it depends on ------------------------------------------------------------------------------------------

    def write_provider(self, before: str = "") -> None:
        """Write the provider's file, with this text before it; it is there whole at any moment."""
        first, _, rest = self._source.partition("from __future__ import annotations\n")
        new = self.provider.with_suffix(".new")
        new.write_text(f"{first}from __future__ import annotations\n{before}{rest}")
        new.replace(self.provider)

    def read_log(self) -> None:
        """Read its log, all the time."""
        self._is_read = True
        asyncio.get_running_loop().add_reader(self._stderr, self._on_log)

    def stall_log(self) -> None:
        """Read its log no more, until ``read_log``."""
        self._is_read = False
        self._stalled_until = float("inf")
        asyncio.get_running_loop().remove_reader(self._stderr)

    def resume_log(self) -> None:
        """Read it again. A line that was not written until now may be lost."""
        self._stalled_until = time.monotonic() + 1.0
        if self._stderr >= 0:
            self.read_log()

    def _on_log(self) -> None:
        try:
            while data := os.read(self._stderr, _CHUNK):
                self._log.write(data)
        except BlockingIOError:
            self._log.flush()
            return
        asyncio.get_running_loop().remove_reader(self._stderr)

    def _close_log(self) -> None:
        if self._stderr < 0:
            return
        asyncio.get_running_loop().remove_reader(self._stderr)
        try:
            while data := os.read(self._stderr, _CHUNK):
                self._log.write(data)
        except BlockingIOError:
            pass  # a worker that dies may hold it open for a moment longer
        self._log.flush()
        os.close(self._stderr)
        self._stderr = -1


def send(process: psutil.Process, signum: signal.Signals) -> None:
    """Send a signal to a process, if it is still there."""
    try:
        process.send_signal(signum)
    except psutil.NoSuchProcess:
        pass  # it has ended meanwhile, which is what most of these signals are for


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Limit:
    """A resource limit of one process, lowered for a while. Only the soft one, so anybody may raise it again."""

    def __init__(self, kind: int, victim: psutil.Process, value: int) -> None:
        self._kind = kind
        self._victim = victim
        self._before, hard = victim.rlimit(kind)
        self._lowered = value
        victim.rlimit(kind, (value, hard))

    def restore(self, family: Iterator[psutil.Process]) -> None:
        """Raise it again, also for processes that have inherited it."""
        for process in (self._victim, *family):
            try:
                soft, hard = process.rlimit(self._kind)
                if soft == self._lowered:
                    process.rlimit(self._kind, (self._before, hard))
            except psutil.NoSuchProcess:
                continue


def no_more_descriptors(victim: psutil.Process, more: int) -> Limit:
    """Leave a process those it has, and so many more."""
    taken = {int(name) for name in os.listdir(f"/proc/{victim.pid}/fd")}
    free = (number for number in range(len(taken) + more + 1) if number not in taken)
    lowest = [number for number, _ in zip(free, range(more + 1), strict=False)]
    return Limit(resource.RLIMIT_NOFILE, victim, lowest[-1])


def no_more_processes(victim: psutil.Process) -> Limit:
    """Leave a process no other to start."""
    return Limit(resource.RLIMIT_NPROC, victim, 1)
