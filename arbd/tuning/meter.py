"""How busy the daemon's processes and the machine's CPUs were between two moments, as the kernel counted it.

Reads /proc through psutil, and the kernel's CPU clocks; changes nothing. Workers and link processes are told by their
process names, ``arbd:worker-N`` and ``arbd:link-N``. One that was replaced in between counts as two: times belong to
processes, and psutil tells a reused pid from the old process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from statistics import fmean
from typing import Final

import msgspec
import psutil

from arbd.host import cpu_clock

_WORKER_PREFIX: Final = "arbd:worker"
_LINK_PREFIX: Final = "arbd:link"
_LOOKED_AT: Final = 4  # workers, for their memory: the kernel walks all of it


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed (nearest rank)."""
    return ascending[max(math.ceil(share * len(ascending)), 1) - 1]


class WorkerLoad(msgspec.Struct, frozen=True):
    """The load of one worker. ``busy`` is the share of the time it ran; ``cpu_busy`` that its CPUs ran anything at all.

    ``cpus`` is empty for a worker that may run on every CPU; ``cpu_busy`` is then None.
    """

    name: str
    pid: int
    cpus: tuple[int, ...]
    busy: float
    cpu_busy: float | None


class Load(msgspec.Struct, frozen=True):
    """The load of a daemon: shares, 0 to 1, of the time between ``start`` and ``stop``."""

    workers: list[WorkerLoad]
    supervisor_busy: float
    cpus_busy: list[float]
    links_busy: float = 0.0  # of all link processes together
    others_busy: float = 0.0  # of the CPUs that the daemon may use, by whatever is neither it nor the meter's process
    worker_bytes: int = 0  # memory that the largest of some workers has for itself; 0: not known


class _Seen(msgspec.Struct):
    """CPU seconds of one process: when first and when last looked at."""

    name: str
    cpus: tuple[int, ...]
    first_s: float
    last_s: float

    @property
    def spent_s(self) -> float:
        return self.last_s - self.first_s


class Meter:
    """Watches one daemon. Call ``sample`` now and then: a process that ends is counted up to its last sample.

    ``now_s`` is any steady clock, the same for all calls. Raises ``psutil.NoSuchProcess`` if there is no daemon.
    """

    def __init__(self, daemon_pid: int, now_s: float) -> None:
        self._started_at = now_s
        self._daemon = psutil.Process(daemon_pid)
        spent_s = _cpu_seconds(self._daemon)
        self._supervisor = _Seen("supervisor", (), spent_s, spent_s)
        self._below: dict[psutil.Process, _Seen] = {}  # workers and link processes
        self._usable = self._daemon.cpu_affinity() or []
        self._here_at_start_s = time.process_time()
        self._cpus_at_start = psutil.cpu_times(percpu=True)
        self._look(is_first=True)

    def sample(self) -> None:
        """Read what every process has used by now."""
        self._look(is_first=False)

    def stop(self, now_s: float) -> Load:
        """The load since the meter was made."""
        self.sample()
        elapsed_s = max(now_s - self._started_at, 1e-9)
        cpus_busy = [
            _busy_share(before, after)
            for before, after in zip(self._cpus_at_start, psutil.cpu_times(percpu=True), strict=True)
        ]
        workers = [
            WorkerLoad(
                name=seen.name,
                pid=process.pid,
                cpus=seen.cpus,
                busy=seen.spent_s / elapsed_s,
                # With CPUs offline the kernel's numbers run past the list.
                cpu_busy=fmean(cpus_busy[cpu] for cpu in seen.cpus)
                if seen.cpus and seen.cpus[-1] < len(cpus_busy)
                else None,
            )
            for process, seen in self._below.items()
            if seen.name.startswith(_WORKER_PREFIX)
        ]
        links_s = sum(seen.spent_s for seen in self._below.values() if seen.name.startswith(_LINK_PREFIX))
        return Load(
            workers=sorted(workers, key=lambda worker: worker.name),
            supervisor_busy=self._supervisor.spent_s / elapsed_s,
            cpus_busy=cpus_busy,
            links_busy=links_s / elapsed_s,
            others_busy=others_share(cpus_busy, self._usable, self._ours_s() / elapsed_s),
            worker_bytes=self._worker_bytes(),
        )

    def _ours_s(self) -> float:
        """CPU seconds of the daemon, and of this process, in which a hub may run."""
        below_s = sum(seen.spent_s for seen in self._below.values())
        return self._supervisor.spent_s + below_s + time.process_time() - self._here_at_start_s

    def _worker_bytes(self) -> int:
        """Memory that the largest of the first few workers shares with nobody."""
        found = [process for process, seen in self._below.items() if seen.name.startswith(_WORKER_PREFIX)]
        sizes = [0]
        for process in found[:_LOOKED_AT]:
            try:
                sizes.append(process.memory_full_info().uss)
            except psutil.Error:
                pass  # it ended, or may not be looked at
        return max(sizes)

    def _look(self, *, is_first: bool) -> None:
        try:
            self._supervisor.last_s = _cpu_seconds(self._daemon)
            below = self._daemon.children(recursive=True)
        except psutil.NoSuchProcess:
            return  # the daemon ended: the samples before stand
        for process in below:
            try:
                self._look_at(process, is_first=is_first)
            except psutil.NoSuchProcess:
                pass  # it ended between the listing and the look: the sample before stands

    def _look_at(self, process: psutil.Process, *, is_first: bool) -> None:
        name = process.name()
        if not name.startswith((_WORKER_PREFIX, _LINK_PREFIX)):
            return
        spent_s = _cpu_seconds(process)
        if process in self._below:
            self._below[process].last_s = spent_s
        else:
            allowed = tuple(sorted(process.cpu_affinity() or ()))
            cpus = allowed if len(allowed) < max(2, len(self._cpus_at_start)) else ()
            # A worker that came later did all of its work since the start.
            first_s = spent_s if is_first else 0.0
            self._below[process] = _Seen(name, cpus, first_s, spent_s)


def others_share(cpus_busy: Sequence[float], usable: Sequence[int], ours: float) -> float:
    """The part of the usable CPUs' time, 0 to 1, that others had. ``cpus_busy``: the share in which each CPU ran
    anything; ``ours``: how many CPUs we had on average."""
    found = [cpus_busy[cpu] for cpu in usable if cpu < len(cpus_busy)]
    return min(1.0, max(0.0, (sum(found) - ours) / len(found))) if found else 0.0


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        return cpu_clock.used_ns(process.pid) / 1e9
    except OSError:
        raise psutil.NoSuchProcess(process.pid) from None


def _busy_share(before: tuple[float, ...], after: tuple[float, ...]) -> float:
    """The part of a CPU's time that was neither idle nor waiting for a disk, 0 to 1."""
    # user, nice, system, idle, iowait, irq, softirq, steal; guest times, which follow, are inside user already.
    spent = [now - then for then, now in zip(before[:8], after[:8], strict=True)]
    total = sum(spent)
    return 1.0 - (spent[3] + spent[4]) / total if total > 0 else 0.0
