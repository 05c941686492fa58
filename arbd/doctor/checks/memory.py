"""Memory: what is left for the workers, how the kernel promises it, and /dev/shm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from arbd.doctor.findings import Finding, fail, ok, warn
from arbd.settings.kinds import show_size

_MIB: Final = 1 << 20
_DAEMON: Final = 80 * _MIB  # supervisor and zygote without an author's code: 53 and 33 MiB, much of it shared
_WORKER: Final = 8 * _MIB  # of its own, before an action has run
_SMALL_SHM: Final = 128 * _MIB  # a container's default is 64 MiB
_STICKY_FOR_ALL: Final = 0o1777
_NO_OVERCOMMIT: Final = 2


class ShmFacts(msgspec.Struct, frozen=True):
    """The file system at /dev/shm. ``size`` in bytes."""

    size: int
    free: int
    mode: int


class MemoryFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Memory in bytes. ``left``: what host and control groups have left, ``limit``: the tightest limit of a control
    group, ``None`` where nobody says. ``cell``: what a worker shares with the supervisor. ``shm``: ``None`` without
    one. ``is_there``: a daemon of this provider runs already, and has its part."""

    workers: int
    cell: int
    left: int | None
    limit: int | None
    source: str
    memory_limit: int = 0
    overcommit: int | None = None
    shm: ShmFacts | None = None
    is_there: bool = False


def check_memory(facts: MemoryFacts) -> Iterator[Finding]:
    """Whether the workers have memory."""
    findings = [*_enough(facts), *_overcommit(facts), *_shm(facts)]
    yield from findings
    if not findings:
        left = "" if facts.left is None else f"{_shown(facts.left)} of memory left"
        limit = "" if facts.limit is None else f", limit {_shown(facts.limit)} ({facts.source})"
        yield ok("memory", f"{left}{limit}; the daemon needs {_shown(needed(facts))} before your code".lstrip(" ,;"))


def needed(facts: MemoryFacts) -> int:
    """Bytes that the daemon needs without the author's code."""
    return _DAEMON + facts.workers * (facts.cell + _WORKER)


def _enough(facts: MemoryFacts) -> Iterator[Finding]:
    need = needed(facts)
    if facts.limit is not None and facts.limit < need:
        yield fail(
            "memory.limit",
            f"the limit is {_shown(facts.limit)} ({facts.source}), and {facts.workers} workers need {_shown(need)} "
            "before your code is loaded",
            "the kernel kills workers as soon as they start",
            "raise it (MemoryMax=, the container's limit), have fewer workers, or a smaller ring_size",
        )
    elif facts.left is not None and facts.left < need and not facts.is_there:
        yield warn(
            "memory.left",
            f"{_shown(facts.left)} of memory are left, and {facts.workers} workers need {_shown(need)} before your "
            "code is loaded",
            "something will be killed for want of memory: a worker first",
            "free memory, or have fewer workers",
        )
    elif facts.limit is not None and facts.memory_limit and _DAEMON + facts.workers * facts.memory_limit > facts.limit:
        yield warn(
            "memory.worker_limit",
            f"{facts.workers} workers may hold {_shown(facts.memory_limit)} each (worker.memory_limit), and all "
            f"together {_shown(facts.limit)} ({facts.source})",
            "the kernel kills a worker before worker.memory_limit ends the task that takes too much",
            f"lower worker.memory_limit to {_shown(max(_MIB, (facts.limit - _DAEMON) // facts.workers))}, have fewer "
            "workers, or raise the limit",
        )


def _overcommit(facts: MemoryFacts) -> Iterator[Finding]:
    if facts.overcommit == _NO_OVERCOMMIT:
        yield warn(
            "memory.overcommit",
            "vm.overcommit_memory is 2: the kernel promises no more memory than there is",
            "a fork of a large zygote counts as if it needed all of that memory once more, and fails",
            "sysctl vm.overcommit_memory=0, or raise vm.overcommit_ratio",
        )


def _shm(facts: MemoryFacts) -> Iterator[Finding]:
    shm, why = facts.shm, "arbd itself keeps nothing there; multiprocessing and torch in your actions do"
    if shm is None:
        yield warn("memory.shm", "there is no /dev/shm", why, "mount a tmpfs there (mode 1777)")
    elif shm.mode & _STICKY_FOR_ALL != _STICKY_FOR_ALL:
        yield warn("memory.shm", f"/dev/shm has mode {shm.mode:o}", why, "chmod 1777 /dev/shm")
    elif shm.size < _SMALL_SHM or shm.free < shm.size // 20:
        yield warn(
            "memory.shm",
            f"/dev/shm has {_shown(shm.size)}, of which {_shown(shm.free)} are free",
            f"{why}, and end by SIGBUS when it is full",
            "make it larger (a container: --shm-size=1g), or remove what was left there",
        )


def _shown(size: int) -> str:
    return show_size(size // _MIB * _MIB)
