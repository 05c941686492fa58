"""The children of a process, as the kernel lists them in ``/proc``; and what one of them is.

Where the kernel keeps no such list (``CONFIG_PROC_CHILDREN``) every process is asked for its parent. A ``/proc`` of
another PID namespace numbers processes otherwise; there nothing is listed, rather than somebody else.
"""

from __future__ import annotations

import os
from typing import Final

_TRACKER: Final = b"resource_tracker import main"  # of multiprocessing, and of loky, which joblib uses


def can_be_listed() -> bool:
    """Whether ``/proc`` is there, and numbers processes as this one sees them."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def of(pid: int) -> list[int]:
    """The children of a process, those included that have ended and are not reaped. One that ends meanwhile may hide
    another; so look again while there are any."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as children:
                found += map(int, children.read().split())
        except FileNotFoundError:
            if _kernel_lists_none():
                return _by_parent(pid)
        except OSError:
            continue
    return found


def of_this_process() -> list[int]:
    """The children of this process; none where they cannot be listed."""
    return of(os.getpid()) if can_be_listed() else []


def _kernel_lists_none() -> bool:
    return not os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def _by_parent(parent: int) -> list[int]:
    return [pid for pid in everybody() if parent_of(pid) == parent]


def everybody() -> list[int]:
    """Every process that ``/proc`` shows."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []


def parent_of(pid: int) -> int:
    """The parent of a process; 0: it has none that can be seen, or is gone."""
    return _stat(pid)[1]


def is_zombie(pid: int) -> bool:
    """Whether a process has ended, and is not reaped, or is gone."""
    return _stat(pid)[0] in ("", "Z", "X")


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, by a signal or by a debugger; not one that is gone or cannot be seen."""
    return _stat(pid)[0] in ("T", "t")


def _stat(pid: int) -> tuple[str, int]:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return parse_stat(stat.read())
    except OSError:
        return "", 0


def parse_stat(stat: bytes) -> tuple[str, int]:
    """State and parent in the text of ``/proc/PID/stat``, whose second field holds whatever a process calls itself."""
    fields = stat.rpartition(b")")[2].split()
    return (fields[0].decode(), int(fields[1])) if len(fields) > 1 else ("", 0)


def name_of(pid: int) -> str:
    """The name of a process, as ``ps`` shows it; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError:
        return ""


def is_resource_tracker(pid: int) -> bool:
    """Whether it is a process that removes its parent's shared memory, and ends, once that has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as arguments:
            return _TRACKER in arguments.read(4096)
    except OSError:
        return False
