"""How many workers this machine has room for: memory, descriptors, processes. Reads what the kernel says.

Half of what is left at the moment is taken at most: what is measured is the action, not how the machine swaps.
"""

from __future__ import annotations

import os
import resource
from typing import Final, NamedTuple

from arbd.host import memory_left, task_count

MOST_WORKERS: Final = 1024  # the setting's own bound
_SHARE: Final = 0.5
_DESCRIPTORS_EACH: Final = 8  # of the supervisor, for one worker; measured: 4 to 6
_ASSUMED_BYTES: Final = 32 * 1024 * 1024  # until a worker has been looked at


class Room(NamedTuple):
    """The most workers there is room for, and what bounds them, in words."""

    most: int
    bound: str


def room(worker_bytes: int) -> Room:
    """The room for workers that have so much memory each, for themselves; 0: not known yet."""
    tasks = task_count.of_group()
    return least_room(
        worker_bytes or _ASSUMED_BYTES,
        memory=memory_left.left(),
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        processes=_processes(),
        group_tasks=None if tasks is None else tasks.most - tasks.now,
    )


def least_room(
    worker_bytes: int, *, memory: int | None, descriptors: int, processes: int | None, group_tasks: int | None
) -> Room:
    """The least of what each of them leaves room for; ``None`` and negative numbers bound nothing."""
    found = [Room(MOST_WORKERS, f"{MOST_WORKERS} is the most that `workers` can be")]
    if memory is not None:
        each = f"{max(1, worker_bytes // 2**20)} MB"
        found.append(Room(int(_SHARE * memory // worker_bytes), f"half of the memory that is left, at {each} a worker"))
    if descriptors >= 0:
        found.append(Room(descriptors // _DESCRIPTORS_EACH, "the limit of open descriptors (RLIMIT_NOFILE)"))
    if processes is not None:
        found.append(Room(int(_SHARE * processes), "half of the processes this user may still have (RLIMIT_NPROC)"))
    if group_tasks is not None:
        found.append(Room(int(_SHARE * group_tasks), "half of the tasks the control group may still have (pids.max)"))
    best = min(found, key=lambda each: each.most)
    return best._replace(most=max(1, best.most))


def _processes() -> int | None:
    """How many processes the user may still have; ``None``: no bound, as for root."""
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if most < 0 or os.geteuid() == 0:
        return None
    return max(0, most - task_count.of_user(os.getuid()))
