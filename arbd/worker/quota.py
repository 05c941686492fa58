"""What a worker may do and hold before it ends by itself: so many tasks, so much memory.

    tasks done   0 ───────────── ask_at ──────────── max_tasks
                                 ReplaceSoon         Leaving: it begins no more

The supervisor starts a successor when it is asked for one, and has this worker leave once that is ready. If it cannot
do so in time the bound holds all the same. A worker that may run a single task never asks: it would be replaced before
it had run any.

Memory is looked at after every task and before the next one begins, where there is a limit: what runs when a worker is
found over it has taken it there, and no task pays for the one before. A worker that was over the limit when it began is
not helped by being replaced, so there it does not count.
"""

from __future__ import annotations

import sys
from typing import Final

from arbd.host.footprint import OwnMemory
from arbd.ipc.notice import Leaving, Notice, ReplaceSoon

_SLACK: Final = 64  # it leaves when a 64th is left, so that nobody is ended for the page too many
_AHEAD: Final = 10  # asks at nine tenths: a successor takes some 20 ms, and others may be before this one
_MIB: Final = 1 << 20


class Quota:
    """The quota of this process. ``next_at``: the number of tasks done at which ``at`` is to be asked."""

    def __init__(self, max_tasks: int, memory_limit: int) -> None:
        self._max_tasks = max_tasks
        ask_at = max(1, max_tasks - max(1, max_tasks // _AHEAD))
        self.next_at = ask_at if max_tasks else sys.maxsize
        self.memory_limit = memory_limit
        self._leave_above = memory_limit
        self._memory = OwnMemory() if memory_limit else None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What must stay open."""
        return () if self._memory is None or self._memory.fd < 0 else (self._memory.fd,)

    def begin(self) -> None:
        """Note that the first task may come now; its resources are open."""
        limit, fresh = self.memory_limit, 0 if self._memory is None else self._memory.read()
        self.memory_limit = 0 if fresh > limit else limit
        self._leave_above = limit - min(limit // _SLACK, (limit - fresh) // 2)

    def at(self, done: int) -> Notice:
        """What is to be said after so many tasks."""
        if done >= self._max_tasks:
            self.next_at = sys.maxsize
            return Leaving("tasks", f"it had finished {done} tasks")
        self.next_at = self._max_tasks
        return ReplaceSoon("tasks", f"it had finished {done} tasks")

    def over_memory(self, action: str) -> Leaving | None:
        """What is to be said if the process holds too much; this action was the last that ran in it."""
        held = 0 if self._memory is None else self._memory.read()
        if held <= self._leave_above:
            return None
        limit = self.memory_limit // _MIB
        return Leaving(
            "memory", f"it held {held // _MIB} MiB after a task, and worker.memory_limit is {limit} MiB", action
        )
