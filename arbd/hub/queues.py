"""The order in which an embedded hub hands tasks out: higher priority first, then first come, first served.

Not the decision what a task becomes: the board asks for the next one and settles the rest. Each provider name has a
queue of its own, beside the one anybody may take from; each queue has one line per priority in use. A task that is no
longer waiting when its turn comes is dropped on the way, so everything is O(1), amortised, times the number of
priorities in use.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import Final, Generic, Protocol, TypeVar

ANYBODY: Final = ""
"""The provider name of a task that any provider may have."""


class Waiting(Protocol):
    """What a queue must know of a task. ``number`` grows with the order of submission."""

    @property
    def priority(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def provider(self) -> str: ...
    @property
    def is_queued(self) -> bool: ...


T = TypeVar("T", bound=Waiting)


class _Queue(Generic[T]):
    __slots__ = ("_lines", "_order")

    def __init__(self) -> None:
        self._lines: dict[int, deque[T]] = {}
        self._order: list[int] = []  # of ``-priority``, so that the highest comes first

    def line(self, priority: int) -> deque[T]:
        line = self._lines.get(priority)
        if line is None:
            line = self._lines[priority] = deque()
            insort(self._order, -priority)
        return line

    def head(self) -> T | None:
        for order in self._order:
            line = self._lines[-order]
            while line:
                if line[0].is_queued:
                    return line[0]
                line.popleft()
        return None

    def drop_empty(self) -> None:
        """Forget priorities that nobody uses any more."""
        if len(self._order) > 1:
            self._lines = {priority: line for priority, line in self._lines.items() if line}
            self._order = sorted(-priority for priority in self._lines)


class TaskQueues(Generic[T]):
    """All queues of one board."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue[T]] = {}

    def push(self, task: T, *, first: bool = False) -> None:
        """Add a task, behind those of its priority, or before them."""
        queue = self._queues.get(task.provider)
        if queue is None:
            queue = self._queues[task.provider] = _Queue()
        line = queue.line(task.priority)
        if first:
            line.appendleft(task)
        else:
            line.append(task)

    def pop(self, provider: str) -> T | None:
        """The next task ``provider`` may have; ``None`` if there is none."""
        own = self._head(provider)
        shared = self._head(ANYBODY)
        chosen = shared if own is None or (shared is not None and _before(shared, own)) else own
        if chosen is not None:
            queue = self._queues[chosen.provider]
            line = queue.line(chosen.priority)
            line.popleft()
            if not line:
                queue.drop_empty()
        return chosen

    def _head(self, provider: str) -> T | None:
        queue = self._queues.get(provider)
        return None if queue is None else queue.head()


def _before(one: Waiting, other: Waiting) -> bool:
    if one.priority != other.priority:
        return one.priority > other.priority
    return one.number < other.number
