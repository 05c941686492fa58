"""Which CPUs this process may use: affinity, topology and cgroup quota, as the kernel tells them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

_CPU: Final = Path("/sys/devices/system/cpu")
_CGROUP: Final = Path("/sys/fs/cgroup")


def allowed() -> frozenset[int]:
    """The CPUs of this process's affinity mask."""
    return frozenset(os.sched_getaffinity(0))


def pin(cpus: frozenset[int]) -> None:
    """Restrict the calling process to these CPUs."""
    os.sched_setaffinity(0, cpus)


def pin_threads(cpus: frozenset[int]) -> None:
    """Restrict every thread of this process to these CPUs; one that ends meanwhile needs none."""
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), cpus)


def some_of(cpus: frozenset[int], count: int, place: int) -> frozenset[int]:
    """So many of these CPUs, or all if there are fewer; those at that place in line."""
    line = sorted(cpus)
    return frozenset(line[(place * count + step) % len(line)] for step in range(count))


class Narrowed:
    """This process on so many of its CPUs inside a ``with`` block, and on all of them again after it.

    Libraries count the CPUs as they are imported, and start a thread for each. Where code in the block chose CPUs
    itself, that stays, and ``chosen`` tells which; a call that is forbidden changes nothing. ``place``: processes with
    different ones take different CPUs, while there are enough.
    """

    def __init__(self, count: int, place: int = -1) -> None:
        self._count = count
        self._place = place  # from the end: workers are placed from the first CPU on, and that may be busy
        self._before: frozenset[int] | None = None
        self._during: frozenset[int] = frozenset()
        self.chosen: frozenset[int] | None = None

    def __enter__(self) -> Narrowed:
        before = allowed()
        during = some_of(before, self._count, self._place)
        try:
            pin(during)
        except OSError:  # a sandbox may forbid it
            return self
        self._before, self._during = before, during
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        if self._before is None:
            return
        now = allowed()
        if now != self._during:
            self.chosen = now
            return
        try:
            pin(self._before)
        except OSError:  # the CPUs have been taken away meanwhile
            pass


def cores(cpus: frozenset[int], root: Path = _CPU) -> dict[int, tuple[int, int]]:
    """Package and core number of each CPU; CPUs the kernel says nothing about are left out."""
    found = {}
    for cpu in cpus:
        topology = root / f"cpu{cpu}" / "topology"
        try:
            package = int((topology / "physical_package_id").read_text())
            core = int((topology / "core_id").read_text())
        except (OSError, ValueError):
            continue
        found[cpu] = (package, core)
    return found


def quota(root: Path = _CGROUP, membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """The tightest CPU quota of this process's control groups, in CPUs; ``None`` if there is none."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            quotas += [_quota_v2(directory) for directory in _upwards(root, path)]
        elif "cpu" in controllers.split(","):
            quotas += [_quota_v1(directory) for directory in _upwards(root / controllers, path)]
    return min((q for q in quotas if q is not None), default=None)


def _upwards(root: Path, path: str) -> list[Path]:
    """A group's directory and those above it: a parent's quota binds its children."""
    directory = root / path.lstrip("/")
    return [directory, *(parent for parent in directory.parents if parent.is_relative_to(root))]


def _quota_v2(directory: Path) -> float | None:
    try:
        limit, period = (directory / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(directory: Path) -> float | None:
    try:
        limit = int((directory / "cpu.cfs_quota_us").read_text())
        period = int((directory / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return limit / period if limit > 0 and period > 0 else None
