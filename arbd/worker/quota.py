"""What a worker may do and hold before it ends by itself: so many tasks, so much memory.

    tasks done   0 ───────────── ask_at ──────────── max_tasks
                                 ReplaceSoon         Leaving: it begins no more

The supervisor starts a successor when it is asked for one, and has this worker leave once that is ready. If it cannot
do so in time the bound holds all the same. A worker that may run a single task never asks: it would be replaced before
it had run any.

Memory is looked at after a task that may have taken some; a worker that was over the limit when it began is not helped
by being replaced, so there it does not count.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from arbd.host import footprint
from arbd.ipc.notice import Leaving, Notice, ReplaceSoon

_AHEAD: Final = 10  # asks at nine tenths: a successor takes some 20 ms, and others may be before this one
_MIB: Final = 1 << 20


class Quota:
    """The quota of this process. ``next_at``: the number of tasks done at which ``at`` is to be asked."""

    def __init__(self, max_tasks: int, memory_limit: int) -> None:
        self._max_tasks = max_tasks
        ask_at = max(1, max_tasks - max(1, max_tasks // _AHEAD))
        self.next_at = ask_at if max_tasks else sys.maxsize
        self.memory_limit = memory_limit

    def begin(self) -> None:
        """Note that the first task may come now; its resources are open."""
        if self.memory_limit and (footprint.rss_of(os.getpid()) or 0) > self.memory_limit:
            self.memory_limit = 0

    def at(self, done: int) -> Notice:
        """What is to be said after so many tasks."""
        if done >= self._max_tasks:
            self.next_at = sys.maxsize
            return Leaving("tasks", f"it had finished {done} tasks")
        self.next_at = self._max_tasks
        return ReplaceSoon("tasks", f"it had finished {done} tasks")

    def over_memory(self, action: str) -> Leaving | None:
        """What is to be said after a run of this action, if the process holds too much."""
        held = footprint.rss_of(os.getpid()) or 0
        if held <= self.memory_limit:
            return None
        return Leaving("memory", f"it held {held // _MIB} MiB after a task, more than worker.memory_limit", action)
