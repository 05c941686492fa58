"""What the flight recorder costs a task: nanoseconds of CPU in one process, the best of many loops.

    python -m bench.flights

The loop itself is taken off. On a machine that is busy with other work the figures are larger, never smaller.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from types import SimpleNamespace
from typing import Final

from arbd.core.dispatch import Assignment
from arbd.core.flight_recorder import FlightRecorder
from arbd.core.under_way import UnderWay
from arbd.ipc.frame import ResultFrame
from arbd.model.flight import Flight
from arbd.model.task import Task

_TASKS: Final = 1000
_LOOPS: Final = 30


def best(loop: Callable[[], object]) -> float:
    """Nanoseconds of one task."""
    runs = timeit.repeat(loop, number=_LOOPS, repeat=60, timer=time.process_time)
    return min(runs) / _LOOPS / _TASKS * 1e9


def verdict_ns() -> float:
    """A verdict."""
    record, worker = FlightRecorder(UnderWay()).flights.append, SimpleNamespace(slot=3, pid=4711)
    now_ns = time.monotonic_ns()
    result = ResultFrame(1, 5000, "success", b"", since_ns=now_ns)
    assignments = [Assignment(n, Task(f"task-{n:08d}", "act"), 1.0, taken_ns=now_ns) for n in range(_TASKS)]

    def recorded() -> None:
        for each in assignments:
            record(
                Flight(
                    each.task.id,
                    each.task.action,
                    worker.slot,
                    worker.pid,
                    result.status,
                    each.taken_ns,
                    each.sent_ns,
                    result.since_ns,
                    result.woke_ns,
                    result.run_ns,
                    now_ns,
                )
            )

    def nothing() -> None:
        for _ in assignments:
            pass

    return best(recorded) - best(nothing)


def ack_ns() -> float:
    """What an acknowledgement notes."""
    recorder = FlightRecorder(UnderWay())
    note_id, note_moment, now = recorder.acks.ids.append, recorder.acks.moments.append, time.monotonic()
    ids = [f"task-{number:08d}" for number in range(_TASKS)]

    def note() -> None:
        for each in ids:
            note_id(each)
            note_moment(now)

    def nothing() -> None:
        for _ in ids:
            pass

    return best(note) - best(nothing)


if __name__ == "__main__":
    print(f"a verdict {verdict_ns():.0f} ns, an acknowledgement {ack_ns():.0f} ns")
