"""The flight recorder: the times of the last tasks, always on.

    a verdict ──> flights      one record each, no payload, no result
    an ack    ──> AckLog       the hub has a result, or gave it up; who reads joins the two by the task's id

Both are bounded, so the memory is, too. Nothing here is tracked by the garbage collector, and no system call is made:
a task costs the supervisor about 0.2 µs (``python -m bench.flights``).

Pure; times are of one monotonic clock: nanoseconds, but for acknowledgements, whose moments come in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from arbd.core.history import shown
from arbd.core.under_way import UnderWay
from arbd.model.flight import NO_WORKER, Flight
from arbd.model.task import Status, Task

KEPT: Final = (
    1024  # of each; some 0.4 MB; with four times as many a task takes 2 % longer, if anything (bench/README.md)
)
_LONGEST_NAME: Final = 200  # of a task that no worker has seen: its id and action are a caller's, and may be long


class AckLog:
    """When the hub has taken which result: two queues of the same length. Who acknowledges appends to them himself,
    because that is done for each task. ``moments`` are seconds of the monotonic clock."""

    __slots__ = ("ids", "moments")

    def __init__(self, kept: int = 0) -> None:
        self.ids: deque[str] = deque(maxlen=kept)
        self.moments: deque[float] = deque(maxlen=kept)

    def after(self, after_ns: int, most: int) -> list[tuple[str, int]]:
        """The oldest ``most`` after that moment; more only where the last of them are of the same moment."""
        newer: list[tuple[str, int]] = []
        for task_id, moment in zip(reversed(self.ids), reversed(self.moments), strict=True):
            at_ns = round(moment * 1e9)
            if at_ns <= after_ns:
                break
            newer.append((task_id, at_ns))
        newer.reverse()
        return newer[: _up_to([at_ns for _, at_ns in newer], most)]


class FlightRecorder:
    """The records of one daemon. Who takes the answers of workers appends to ``flights`` himself, too."""

    __slots__ = ("_under_way", "acks", "clock", "flights")

    def __init__(self, under_way: UnderWay, clock: Callable[[], int] = lambda: 0, kept: int = KEPT) -> None:
        self.clock = clock
        self.flights: deque[Flight] = deque(maxlen=kept)
        self.acks = AckLog(kept)
        self._under_way = under_way

    def taken_ns(self, task: Task) -> int:
        """When a task had come that is under way; 0: nobody knows."""
        entry = self._under_way.get(task.id)
        return entry[1] if entry is not None and entry[0] is task else 0

    def decided(self, task: Task, status: Status) -> None:
        """The supervisor has given a verdict of its own to a task that did not run, or of which nobody knows."""
        taken_ns = self.taken_ns(task)
        task_id, action = task.id, shown(task.action, _LONGEST_NAME)
        if len(task_id) > _LONGEST_NAME:
            task_id = shown(task_id, _LONGEST_NAME)
        self.flights.append(Flight(task_id, action, NO_WORKER, 0, status, taken_ns, 0, 0, 0, 0, self.clock()))

    def after(self, after_ns: int, most: int) -> list[Flight]:
        """The oldest ``most`` that were answered after that moment; more only where the last of them are of the same
        moment."""
        newer: list[Flight] = []
        for flight in reversed(self.flights):
            if flight.answered_ns < after_ns:  # those of one batch may stand behind a later one
                break
            if flight.answered_ns > after_ns:
                newer.append(flight)
        newer.reverse()
        newer.sort(key=lambda flight: flight.answered_ns)
        return newer[: _up_to([flight.answered_ns for flight in newer], most)]


def _up_to(moments: list[int], most: int) -> int:
    """How many of these, in their order, make a page: a next one begins after the last moment of this one."""
    if len(moments) <= most:
        return len(moments)
    end = most
    while end < len(moments) and moments[end] == moments[most - 1]:
        end += 1
    return end
