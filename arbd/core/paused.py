"""The actions that an operator has paused, and the tasks that wait for them.

    pause ──> keep: each action's tasks, in the order they came, up to a bound ──> resume: all of them, in that order
                └── full, or closed because the daemon is drained: not kept, and the caller answers "limit"

Beside the dispatcher's backlog, not in it: what waits here takes no slot, so the hub's other tasks go on coming, and
none of them ever stands behind one of these.

Invariants: a task is here at most once; ``waiting`` and the bytes are those of exactly the tasks that are here.

Pure; times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from arbd.model.task import Task

MOST_TASKS: Final = 256  # of one action
MOST_BYTES: Final = 64 * 1024 * 1024  # of all that wait, payloads and accounts


class _PausedLine:
    __slots__ = ("paused_at", "refused", "tasks")

    def __init__(self, paused_at: float) -> None:
        self.paused_at = paused_at
        self.tasks: list[Task] = []
        self.refused = 0


class PausedActions:
    """The paused actions of one daemon, by name. ``is_closed``: no task is kept."""

    def __init__(self) -> None:
        self.waiting = 0
        self.is_closed = False
        self._lines: dict[str, _PausedLine] = {}
        self._bytes = 0
        self._first_deadline = math.inf  # at the latest; what has left may have had it

    def pause(self, action: str, now: float) -> bool:
        """Pause it; whether it was not paused before."""
        if action in self._lines:
            return False
        self._lines[action] = _PausedLine(now)
        return True

    def resume(self, action: str) -> list[Task]:
        """It is paused no more; the tasks that waited for that."""
        line = self._lines.pop(action, None)
        tasks = [] if line is None else line.tasks
        self._account_for(tasks)
        return tasks

    def keep(self, task: Task) -> bool:
        """Keep a task of a paused action until it is resumed; ``False``: no room, or nothing is kept."""
        line = self._lines[task.action]
        size = _size(task)
        if self.is_closed or len(line.tasks) >= MOST_TASKS or self._bytes + size > MOST_BYTES:
            return False
        line.tasks.append(task)
        self.waiting += 1
        self._bytes += size
        self._first_deadline = min(self._first_deadline, task.deadline)
        return True

    def note_refused(self, action: str) -> None:
        """A task of this action was turned away."""
        if action in self._lines:
            self._lines[action].refused += 1

    def take_late(self, now: float) -> list[Task]:
        """Take out those whose deadline has passed."""
        if now < self._first_deadline:
            return []
        late = self.take_out(lambda task: task.deadline <= now)
        self._first_deadline = min((task.deadline for task in self._tasks()), default=math.inf)
        return late

    def take_out(self, unwanted: Callable[[Task], bool]) -> list[Task]:
        """Take out all tasks for which ``unwanted`` is true."""
        found = [task for task in self._tasks() if unwanted(task)]
        if found:
            for line in self._lines.values():
                line.tasks = [task for task in line.tasks if not unwanted(task)]
            self._account_for(found)
        return found

    def _account_for(self, gone: list[Task]) -> None:
        self.waiting -= len(gone)
        self._bytes -= sum(map(_size, gone))

    # -- looking ---------------------------------------------------------------------------------------

    def __contains__(self, action: str) -> bool:
        return action in self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def has_task(self, task: Task) -> bool:
        """Whether this very task waits here."""
        return any(each is task for each in self._tasks())

    def describe(self, now: float) -> Iterator[tuple[str, int, int, float]]:
        """Of each action: its name, how many tasks wait, how many were turned away, for how long it is paused."""
        for action, line in self._lines.items():
            yield action, len(line.tasks), line.refused, now - line.paused_at

    def _tasks(self) -> Iterator[Task]:
        return chain.from_iterable(line.tasks for line in self._lines.values())


def _size(task: Task) -> int:
    return len(task.payload) + len(task.account)
