"""The leases of a board in the order in which they end. All have one length, so they are a queue; a renewed one goes to
its end again.

Pure; times are seconds of a monotonic clock. An entry counts only while its task still says that its lease ends at that
moment: what was answered or renewed meanwhile is dropped when its turn comes, or when such entries are the majority, so
that one long task does not keep a million short ones in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

_COMPACT_FROM: Final = 10_000


class Leased(Protocol):
    """A task that may be leased; ``lease_until`` is ``NOT_LEASED`` while it is not."""

    lease_until: float


NOT_LEASED: Final = -1.0

T = TypeVar("T", bound=Leased)


class Leases(Generic[T]):
    """All leases of one board, each ``length_s`` long. ``len``: those in force."""

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self._entries: deque[tuple[float, T]] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        """The tasks that are leased now, each once."""
        return (task for until, task in self._entries if task.lease_until == until)

    def begin(self, task: T, now: float) -> None:
        """Lease a task, or lease it anew."""
        if task.lease_until == NOT_LEASED:
            self._count += 1
        task.lease_until = now + self.length_s
        self._entries.append((task.lease_until, task))
        if len(self._entries) > max(_COMPACT_FROM, 2 * self._count):
            self._entries = deque(entry for entry in self._entries if entry[1].lease_until == entry[0])

    def end(self, task: T) -> None:
        """End a lease, because of an answer or of time."""
        if task.lease_until != NOT_LEASED:
            self._count -= 1
            task.lease_until = NOT_LEASED

    def next_end(self) -> float | None:
        """When the next lease ends; ``None`` without leases."""
        entries = self._entries
        while entries and entries[0][1].lease_until != entries[0][0]:
            entries.popleft()
        return entries[0][0] if entries else None

    def pop_ended(self, now: float) -> T | None:
        """A task whose lease is over at this moment; its lease is ended by that."""
        until = self.next_end()
        if until is None or until > now:
            return None
        _, task = self._entries.popleft()
        self.end(task)
        return task
