"""Limits of the kernel on a process, a user and a control group: descriptors, processes, address space, CPU time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from arbd.doctor.findings import Finding, fail, ok, warn
from arbd.settings.kinds import show_size

_GIB: Final = 1 << 30
_LEAST_ADDRESS_SPACE: Final = _GIB  # an idle supervisor maps 570 MiB: stacks and arenas of gRPC's threads
_SAFE_ADDRESS_SPACE: Final = 16 * _GIB  # numerical libraries map gigabytes that they never touch


class LimitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Limits, ``None`` where there is none, and what the daemon needs. ``source``: who sets them. ``tasks_max`` of the
    control group, of which ``tasks_now`` are there; ``processes_now`` of the daemon's user, threads counted."""

    source: str
    files: int | None
    files_needed: int
    processes_needed: int
    processes: int | None = None
    processes_now: int = 0
    tasks_max: int | None = None
    tasks_now: int = 0
    address_space: int | None = None
    data: int | None = None
    cpu_time_s: int | None = None
    file_size: int | None = None
    is_root: bool = False


def check_limits(facts: LimitFacts) -> Iterator[Finding]:
    """Whether the daemon and its workers fit into the limits."""
    findings = [*_files(facts), *_processes(facts), *_memory(facts), *_deadly(facts)]
    yield from findings
    if not findings:
        files = "any number of" if facts.files is None else str(facts.files)
        yield ok(
            "limits",
            f"{files} open files ({facts.files_needed} needed), about {facts.processes_needed} processes and threads "
            f"fit ({facts.source}); locked memory is not needed",
        )


def _files(facts: LimitFacts) -> Iterator[Finding]:
    if facts.files is not None and facts.files < facts.files_needed:
        yield fail(
            "limits.files",
            f"{facts.files} open files are allowed ({facts.source}), and so many workers need {facts.files_needed}",
            "the daemon does not start",
            f"set LimitNOFILE={max(facts.files_needed, 65_536)} in the unit (ulimit -n), or have fewer workers",
        )


def _processes(facts: LimitFacts) -> Iterator[Finding]:
    places = (
        (
            "limits.processes",
            "the user's processes (RLIMIT_NPROC)",
            facts.processes,
            facts.processes_now,
            "LimitNPROC=",
        ),
        ("limits.tasks", "the control group's tasks (pids.max)", facts.tasks_max, facts.tasks_now, "TasksMax="),
    )
    for check, what, most, now, setting in places:
        if most is None or (setting == "LimitNPROC=" and facts.is_root):
            continue
        if most - now < facts.processes_needed:
            yield fail(
                check,
                f"of {what} {most} are allowed, {now} are there, and the daemon needs about {facts.processes_needed}",
                "workers cannot be started, or not be replaced, and actions cannot start threads",
                f"raise {setting} to {now + 4 * facts.processes_needed} or remove it, or have fewer workers",
            )


def _memory(facts: LimitFacts) -> Iterator[Finding]:
    for check, name, limit in (
        ("limits.address_space", "RLIMIT_AS", facts.address_space),
        ("limits.data", "RLIMIT_DATA", facts.data),
    ):
        if limit is None or limit >= _SAFE_ADDRESS_SPACE:
            continue
        level = fail if limit < _LEAST_ADDRESS_SPACE else warn
        yield level(
            check,
            f"each process may map {show_size(limit)} ({name}, {facts.source})",
            "that counts addresses, not memory: threads and numerical libraries reserve gigabytes that they never use, "
            "and fail without",
            "remove it (LimitAS=infinity, ulimit -v unlimited); worker.memory_limit bounds what a task really holds",
        )


def _deadly(facts: LimitFacts) -> Iterator[Finding]:
    if facts.cpu_time_s is not None:
        yield fail(
            "limits.cpu_time",
            f"each process may use {facts.cpu_time_s} s of CPU time (RLIMIT_CPU, {facts.source})",
            "then the kernel kills it: every worker after so much work, and at last the daemon",
            "remove it (LimitCPU=infinity, ulimit -t unlimited); actions have timeouts",
        )
    if facts.file_size is not None:
        yield warn(
            "limits.file_size",
            f"no file may grow beyond {show_size(facts.file_size)} (RLIMIT_FSIZE, {facts.source})",
            "it also holds for shared memory and the log; a write beyond it fails",
            "remove it (LimitFSIZE=infinity, ulimit -f unlimited)",
        )
