"""What keeps the memory of a process from other processes of its user, and secrets out of what stays readable.

    no dumps         ``PR_SET_DUMPABLE`` 0: ``/proc/PID/mem``, ``environ``, ``auxv``, ``maps`` and ``fd`` are root's, no
                     other process of the user may trace it, and it leaves no core file. Undone by every exec, so what
                     it starts can be looked at as before
    environment      the block that the kernel shows in ``/proc/PID/environ``: written over where secrets stand in it;
                     ``os.environ`` is Python's own copy and stays. For root, whom the first does not keep out
    core files       none of a process that runs an author's actions, unless the operator wants them

Arguments are not hidden: ``/proc/PID/cmdline`` is everybody's, so no secret ever stands in them.
"""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from arbd.host import procs

_PR_SET_DUMPABLE: Final = 4
_STAT: Final = Path("/proc/self/stat")
_ENVIRONMENT_FIELDS: Final = slice(
    50 - 3, 52 - 3
)  # env_start, env_end; counted from the third, the first after the name
_STAND_IN: Final = ord("-")
_LEAST: Final = 4  # bytes: a shorter one is part of too many words
_SHORT: Final = 8  # bytes: a shorter one is written over only where it is a whole word
_BEFORE: Final = (b"=", b" ")
_BEHIND: Final = (b" ", b"\0", b"")


def seclude() -> None:
    """Let no other process of this user read or trace this one, and the kernel write no core file of it. Until the next
    exec. Where the kernel forbids even that, all is as it was."""
    with suppress(OSError):
        procs.prctl(_PR_SET_DUMPABLE, 0)


def overwrite_environment(secrets: Iterable[str]) -> None:
    """Write hyphens over these secrets in the block of memory that this process was given its environment in."""
    found = _environment_block()
    if found is None:
        return
    start, size = found
    block = ctypes.string_at(start, size)
    for secret in secrets:
        raw = secret.encode("utf-8", "surrogateescape")
        at = block.find(raw) if len(raw) >= _LEAST else -1
        while at >= 0:
            end = at + len(raw)
            if len(raw) >= _SHORT or (block[at - 1 : at] in _BEFORE and block[end : end + 1] in _BEHIND):
                ctypes.memset(start + at, _STAND_IN, len(raw))
            at = block.find(raw, at + len(raw))


def _environment_block() -> tuple[int, int] | None:
    """Where it begins, and its size; ``None`` where that is not told."""
    try:
        fields = _STAT.read_bytes().rpartition(b")")[2].split()[_ENVIRONMENT_FIELDS]
        start, end = map(int, fields)
    except (OSError, ValueError):
        return None
    return (start, end - start) if 0 < start < end else None


def leave_no_core_files() -> None:
    """Have this process and what it starts leave no core file when they crash: the soft limit, which they may raise."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
