"""Facts of the machine: CPUs, limits, memory, kernel, clock, packages. For a unit, what its lines give the daemon."""

from __future__ import annotations

import math
import os
import platform
import resource
import stat
import sys
import time
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Final

from arbd.core.placement import usable_cpus, worker_count, worker_cpus
from arbd.doctor.case import Case
from arbd.doctor.checks.clock import ClockFacts
from arbd.doctor.checks.cpus import CpuFacts
from arbd.doctor.checks.kernel import KernelFacts
from arbd.doctor.checks.limits import LimitFacts
from arbd.doctor.checks.memory import MemoryFacts, ShmFacts
from arbd.doctor.checks.packages import PackageFacts
from arbd.doctor.unit_text import Unit, percent_of
from arbd.errors import ConfigError
from arbd.host import cpu_claim, cpus, fork_mark, kernel_clock, memory_left, task_count
from arbd.host.platform import require_supported
from arbd.ipc import layout

_SHM: Final = "/dev/shm"
_OVERCOMMIT: Final = Path("/proc/sys/vm/overcommit_memory")
_DEFAULT_FILES: Final = 524_288  # the hard limit that systemd gives a unit without LimitNOFILE=
_TASKS_OF_DAEMON: Final = 24  # an idle supervisor has 8 threads; zygote, watcher, and as many again while it reloads
_TASKS_OF_WORKER: Final = 4  # twice during a reload, each with a thread


def cpu_facts(case: Case, own_cpus: Collection[int]) -> CpuFacts:
    """``own_cpus``: those of the daemon of this provider that runs already."""
    unit = case.unit if case.is_of_unit else None
    allowed, quota, source = _cpus_of(unit) if unit is not None else (cpus.allowed(), cpus.quota(), "this process")
    claimed = {cpu: count - (cpu in own_cpus) for cpu, count in cpu_claim.seen().items()}
    return CpuFacts(
        allowed=allowed,
        quota=quota,
        source=source,
        workers=case.settings.workers,
        cpus_each=case.settings.worker_cpus,
        pin=case.settings.pin,
        claimed=claimed,
        pin_error=_pin_error() if case.settings.pin and unit is None else "",
    )


def workers_of(facts: CpuFacts) -> tuple[int, int]:
    """How many workers there will be, and how many CPUs each has."""
    usable = usable_cpus(facts.allowed, facts.quota)
    each = worker_cpus(facts.cpus_each, usable)
    return (worker_count(usable, each) if facts.workers == "auto" else facts.workers), each


def limit_facts(case: Case, workers: int, claims: int) -> LimitFacts:
    """Of the unit, or of this process."""
    from arbd.supervisor.needs import files_needed

    needed = files_needed(workers, case.settings.hub_links, claims if case.settings.pin else 0)
    processes = _TASKS_OF_DAEMON + _TASKS_OF_WORKER * workers
    unit = case.unit if case.is_of_unit else None
    if unit is not None:
        return LimitFacts(
            source=unit.name,
            files=_whole(unit.size("LimitNOFILE")) if unit.last("LimitNOFILE") else _DEFAULT_FILES,
            files_needed=needed,
            processes_needed=processes,
            processes=_whole(unit.size("LimitNPROC")),
            tasks_max=_whole(unit.size("TasksMax")),
            address_space=_whole(unit.size("LimitAS")),
            data=_whole(unit.size("LimitDATA")),
            cpu_time_s=_whole(unit.seconds("LimitCPU", math.inf)),
            file_size=_whole(unit.size("LimitFSIZE")),
            is_root=case.account.uid == 0,
        )
    group = task_count.of_group()
    nproc, is_root = _hard(resource.RLIMIT_NPROC), case.account.uid == 0
    return LimitFacts(
        source="this process",
        files=_hard(resource.RLIMIT_NOFILE),
        files_needed=needed,
        processes_needed=processes,
        processes=nproc,
        processes_now=task_count.of_user(case.account.uid) if nproc is not None and not is_root else 0,
        tasks_max=group.most if group else None,
        tasks_now=group.now if group else 0,
        address_space=_soft(resource.RLIMIT_AS),
        data=_soft(resource.RLIMIT_DATA),
        cpu_time_s=_soft(resource.RLIMIT_CPU),
        file_size=_soft(resource.RLIMIT_FSIZE),
        is_root=is_root,
    )


def memory_facts(case: Case, workers: int, *, is_there: bool) -> MemoryFacts:
    """``is_there``: a daemon of this provider runs."""
    unit = case.unit if case.is_of_unit else None
    if unit is not None:
        sizes = [size for name in ("MemoryMax", "MemoryHigh") if (size := _whole(unit.size(name))) is not None]
        limit, source = min(sizes, default=None), f"MemoryMax= of {unit.name}"
    else:
        limit, source = memory_left.limit(), "its control group"
    return MemoryFacts(
        workers=workers,
        cell=layout.cell_bytes(case.settings.ring_size),
        left=memory_left.left(),
        limit=limit,
        source=source,
        memory_limit=case.settings.worker_memory_limit,
        overcommit=_number(_OVERCOMMIT),
        shm=_shm(),
        is_there=is_there,
    )


def kernel_facts() -> KernelFacts:
    """What the machine is, and what of it was tried."""
    try:
        require_supported()
        problems: list[str] = []
    except ConfigError as error:
        problems = error.problems
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    wipes = not isinstance(fork_mark.make(), fork_mark.ProcessId)
    return KernelFacts(
        release=platform.release(),
        machine=platform.machine(),
        python=platform.python_version(),
        problems=problems,
        wipes_on_fork=wipes,
        has_gil=has_gil,
    )


def clock_facts() -> ClockFacts:
    """The clock now."""
    state = kernel_clock.state()
    return ClockFacts(
        now=time.time(),
        is_synchronised=None if state is None else state.is_synchronised,
        may_be_off_s=0.0 if state is None else state.may_be_off_s,
        source=kernel_clock.source(),
    )


def package_facts() -> list[PackageFacts]:
    """What arbd's metadata asks for, without its extras."""
    try:
        required = metadata.requires("arbd") or []
    except metadata.PackageNotFoundError:
        return []
    return [_package(text) for text in required if "extra ==" not in text]


def _package(requirement: str) -> PackageFacts:
    text = requirement.partition(";")[0].strip()
    name = text[: next((place for place, sign in enumerate(text) if sign in "<>=!~ [("), len(text))]
    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError:
        installed = ""
    return PackageFacts(name, text[len(name) :].strip(" ()"), installed)


def _cpus_of(unit: Unit) -> tuple[frozenset[int], float | None, str]:
    """The CPUs that a unit gives the daemon: of those that the first process has, which starts it."""
    try:
        whole = frozenset(os.sched_getaffinity(1))
    except OSError:
        whole = cpus.allowed()
    sets = [wanted for name in ("AllowedCPUs", "CPUAffinity") if (wanted := unit.cpus(name))]
    found = frozenset.intersection(whole, *sets)
    names = " and ".join(f"{name}=" for name in ("AllowedCPUs", "CPUAffinity") if unit.cpus(name))
    return found or whole, percent_of(unit.last("CPUQuota")), f"{names} of {unit.name}" if names else unit.name


def _pin_error() -> str:
    """Why this process may not be bound to CPUs: it is bound to those that it has."""
    try:
        cpus.pin(cpus.allowed())
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _shm() -> ShmFacts | None:
    try:
        space, mode = os.statvfs(_SHM), stat.S_IMODE(os.stat(_SHM).st_mode)
    except OSError:
        return None
    return ShmFacts(space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize, mode)


def _whole(limit: float | None) -> int | None:
    return None if limit is None or math.isinf(limit) else int(limit)


def _hard(which: int) -> int | None:
    return _finite(resource.getrlimit(which)[1])


def _soft(which: int) -> int | None:
    return _finite(resource.getrlimit(which)[0])


def _finite(limit: int) -> int | None:
    return None if limit == resource.RLIM_INFINITY else limit


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
