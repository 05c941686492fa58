"""The order in which an embedded hub hands tasks out: higher priority first, then first come, first served.

Not the decision what a task becomes: the board asks for the next one and settles the rest. Each provider name has a
queue of its own (``arbd.core.lines``), beside the one anybody may take from. A task that is no longer waiting when its
turn comes is dropped on the way, so everything is O(1), amortised, for as long as all have the same priority.
"""

from __future__ import annotations

from typing import Final, Generic, Protocol, TypeVar

from arbd.core.lines import Lines

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


class TaskQueues(Generic[T]):
    """All queues of one board."""

    def __init__(self) -> None:
        self._queues: dict[str, Lines[T]] = {}

    def push(self, task: T, *, first: bool = False) -> None:
        """Add a task, behind those of its priority, or before them."""
        queue = self._queues.get(task.provider)
        if queue is None:
            queue = self._queues[task.provider] = Lines()
        if first:
            queue.appendleft(task, task.priority)
        else:
            queue.append(task, task.priority)

    def pop(self, provider: str) -> T | None:
        """The next task ``provider`` may have; ``None`` if there is none."""
        own = self._head(provider)
        shared = self._head(ANYBODY)
        chosen = shared if own is None or (shared is not None and _before(shared, own)) else own
        if chosen is not None:
            self._queues[chosen.provider].popleft()
        return chosen

    def _head(self, provider: str) -> T | None:
        queue = self._queues.get(provider)
        if queue is None:
            return None
        while (head := queue.head()) is not None and not head.is_queued:
            queue.popleft()
        return head


def _before(one: Waiting, other: Waiting) -> bool:
    if one.priority != other.priority:
        return one.priority > other.priority
    return one.number < other.number
