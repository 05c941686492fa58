"""How many processes and threads a user or a control group has, and how many a control group may have (pids.max)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_MEMBERSHIP: Final = Path("/proc/self/cgroup")
_CGROUP: Final = Path("/sys/fs/cgroup")


class TaskLimit(NamedTuple):
    """How many tasks of the kernel a control group may have, and how many it has."""

    most: int
    now: int


def of_group(membership: Path = _MEMBERSHIP, root: Path = _CGROUP) -> TaskLimit | None:
    """Of this process's control groups, the one with the least room; ``None``: none has a limit."""
    found = [limit for directory in _groups(membership, root) if (limit := _limit(directory)) is not None]
    return min(found, key=lambda each: each.most - each.now, default=None)


def of_user(uid: int, proc: Path = Path("/proc")) -> int:
    """The processes and threads of a user, as RLIMIT_NPROC counts them."""
    count = 0
    for name in os.listdir(proc):
        try:
            if name.isdecimal() and (proc / name).stat().st_uid == uid:
                count += len(os.listdir(proc / name / "task"))
        except OSError:
            continue  # it has ended meanwhile, or may not be looked at
    return count


def _groups(membership: Path, root: Path) -> Iterator[Path]:
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "pids"):
            top = root / controllers
            directory = top / path.lstrip("/")
            yield directory
            yield from (parent for parent in directory.parents if parent.is_relative_to(top))


def _limit(directory: Path) -> TaskLimit | None:
    try:
        return TaskLimit(int((directory / "pids.max").read_text()), int((directory / "pids.current").read_text()))
    except (OSError, ValueError):  # the root has neither, and "max" is no limit
        return None
