"""A priority queue: the higher priority first; within one, first come, first served.

    priority 5   | urgent | urgent |                 one line for each priority in use
    priority 0   | usual | usual | usual | usual |   what goes back to the front goes to the front of its own line

Not a heap: what was taken out too early can be put back in front of those of its priority. Everything but
``take_out`` is O(1) for as long as all have the same priority, and O(number of priorities in use) otherwise.

Invariant: a line is never empty, unless it is the only one.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Generic, TypeVar

T = TypeVar("T")


class Lines(Generic[T]):
    """A priority queue. ``len`` counts all items; iteration goes in the order in which they would be taken."""

    __slots__ = ("_first", "_lines", "_order")

    def __init__(self) -> None:
        self._first: deque[T] = deque()  # the line of the highest priority
        self._order = [0]  # of ``-priority``, so that the highest comes first
        self._lines = {0: self._first}

    def append(self, item: T, priority: int) -> None:
        """Add an item behind all of its priority; a higher number is taken first."""
        line = self._lines.get(priority)
        (self._new_line(priority) if line is None else line).append(item)

    def appendleft(self, item: T, priority: int) -> None:
        """Add an item before all of its priority."""
        line = self._lines.get(priority)
        (self._new_line(priority) if line is None else line).appendleft(item)

    def head(self) -> T | None:
        """The next item, which stays in the queue; ``None`` if there is none."""
        first = self._first
        return first[0] if first else None

    def popleft(self) -> T:
        """Take the next item. Raises ``IndexError`` if there is none."""
        item = self._first.popleft()
        if not self._first and len(self._order) > 1:
            del self._lines[-self._order.pop(0)]
            self._first = self._lines[-self._order[0]]
        return item

    def take_out(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take all items for which ``unwanted`` is true, in order; the others keep theirs."""
        found = [item for item in self if unwanted(item)]
        if found:
            stay = [(item, priority) for priority, line in self._lines.items() for item in line if not unwanted(item)]
            self.clear()
            for item, priority in stay:
                self.append(item, priority)
        return found

    def clear(self) -> None:
        """Remove all items."""
        self._first.clear()
        self._order = [0]
        self._lines = {0: self._first}

    def _new_line(self, priority: int) -> deque[T]:
        if not self._first:
            self._order.clear()
            self._lines.clear()
        line = self._lines[priority] = deque()
        insort(self._order, -priority)
        self._first = self._lines[-self._order[0]]
        return line

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __bool__(self) -> bool:
        return bool(self._first)

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._lines[-order] for order in self._order)
