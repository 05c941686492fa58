"""A trace as a file in the Chrome trace event format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

    process "workers"      a track for each worker process: its runs ("X"), each with the wake before it
    process "supervisor"   each task from taken to acknowledged ("b" to "e"), and in it: it waits in the supervisor, in
                           a worker's ring, and its result for the hub; and how many tasks wait ("C")

What a worker says of times is its word alone: it is made to fit into what the supervisor saw, so that on each track
times only grow and nothing overlaps. Pure: records in, bytes out.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from arbd.model.flight import NO_WORKER, Flight
from arbd.printable import printable_json_bytes

SUPERVISOR: Final = 1  # numbers of the processes in the file
WORKERS: Final = 2
_COUNTS: Final = 2000  # points of the curve of how many wait, at most

Event = dict[str, Any]


class Leg(msgspec.Struct):
    """One task with its times in order, ready to be drawn. ``acked_ns`` is 0 if the hub has not taken it yet."""

    flight: Flight
    taken_ns: int
    sent_ns: int
    since_ns: int  # 0: it did not run
    ended_ns: int
    answered_ns: int
    acked_ns: int = 0

    @property
    def runs(self) -> bool:
        """Whether it was still running."""
        return self.flight.answered_ns == 0


def legs_of(flights: Iterable[Flight], acks: Iterable[tuple[str, int]], now_ns: int) -> list[Leg]:
    """These tasks, in the order in which they came, each with the moment at which the hub has taken its result.
    ``now_ns``: when it was looked; those that have no verdict run until then."""
    waiting: defaultdict[str, deque[Leg]] = defaultdict(deque)
    legs = []
    for flight in sorted(flights, key=lambda each: each.answered_ns or now_ns):
        leg = _leg(flight, now_ns)
        legs.append(leg)
        if not leg.runs:
            waiting[flight.id].append(leg)
    for task_id, at_ns in acks:
        same = waiting.get(task_id)
        if same and same[0].answered_ns <= at_ns:  # an older one is that of a task from before
            same.popleft().acked_ns = at_ns
    _part(legs)
    legs.sort(key=lambda leg: leg.taken_ns)
    return legs


def _leg(flight: Flight, now_ns: int) -> Leg:
    answered = flight.answered_ns or now_ns
    since = min(flight.since_ns, answered) if flight.worker != NO_WORKER else 0
    run_ns = flight.run_ns if flight.answered_ns else answered - since
    ended = min(since + run_ns, answered) if since else answered
    first = since or answered
    taken = min(flight.taken_ns or first, first)
    sent = min(max(flight.sent_ns, taken), first)
    return Leg(flight, taken, sent, since, ended, answered)


def _part(legs: Iterable[Leg]) -> None:
    """Have no two runs of one process overlap."""
    ended_at: dict[tuple[int, int], int] = {}
    for leg in sorted((each for each in legs if each.since_ns), key=lambda each: each.since_ns):
        track = (leg.flight.worker, leg.flight.pid)
        leg.since_ns = max(leg.since_ns, ended_at.get(track, 0))
        leg.ended_ns = ended_at[track] = max(leg.since_ns, leg.ended_ns)
        leg.answered_ns = max(leg.answered_ns, leg.ended_ns)
        leg.acked_ns = leg.acked_ns and max(leg.acked_ns, leg.answered_ns)


def document(provider: str, legs: Sequence[Leg], at: str) -> Iterator[bytes]:
    """The file, in pieces. ``at``: what time it was when these were looked at, for people."""
    encode = msgspec.json.Encoder().encode
    head = printable_json_bytes(encode({"provider": provider, "looked_at": at, "tasks": len(legs)}))
    yield b'{"displayTimeUnit":"ms","otherData":' + head + b',"traceEvents":[\n'
    separator = b""
    for event in events(provider, legs):
        yield separator + printable_json_bytes(encode(event))
        separator = b",\n"
    yield b"\n]}\n"


def events(provider: str, legs: Sequence[Leg]) -> list[Event]:
    """The events of these tasks: the names of the tracks first, then by time."""
    if not legs:
        return _names(provider, legs)
    base_ns = min(leg.taken_ns for leg in legs)
    found: list[Event] = []
    for number, leg in enumerate(legs, 1):
        found += _task(number, leg, base_ns)
    found += _runs(legs, base_ns)
    found += _counts(legs, base_ns)
    found.sort(key=lambda event: event["ts"])  # stable: what is of one moment stays in its order
    return _names(provider, legs) + found


def _us(ns: int, base_ns: int) -> float:
    return (ns - base_ns) / 1000


def _args(leg: Leg) -> dict[str, Any]:
    flight = leg.flight
    return {"id": flight.id, "outcome": "still running" if leg.runs else flight.status}


def _task(number: int, leg: Leg, base_ns: int) -> Iterator[Event]:
    """A task from taken to acknowledged, and its waits in it."""
    flight = leg.flight
    same = {"cat": "task", "id": number, "pid": SUPERVISOR, "tid": SUPERVISOR}
    until = leg.acked_ns or leg.answered_ns
    phases = [
        ("waits for a worker", leg.taken_ns, leg.sent_ns),
        ("waits in the ring", leg.sent_ns, leg.since_ns),
        ("the answer waits", leg.ended_ns if leg.since_ns else 0, leg.answered_ns),
        ("the result waits for the hub", leg.answered_ns, leg.acked_ns),
    ]
    yield same | {"ph": "b", "name": flight.action, "ts": _us(leg.taken_ns, base_ns), "args": _args(leg)}
    for name, begin_ns, end_ns in phases:
        if begin_ns and end_ns > begin_ns:
            yield same | {"ph": "b", "name": name, "ts": _us(begin_ns, base_ns)}
            yield same | {"ph": "e", "name": name, "ts": _us(end_ns, base_ns)}
    yield same | {"ph": "e", "name": flight.action, "ts": _us(until, base_ns)}


def _runs(legs: Sequence[Leg], base_ns: int) -> Iterator[Event]:
    """What each worker did, in its order."""
    numbers = _tracks(legs)
    ended_at: dict[tuple[int, int], int] = {}
    for leg in sorted((each for each in legs if each.since_ns), key=lambda each: each.since_ns):
        flight = leg.flight
        track = (flight.worker, flight.pid)
        same = {"ph": "X", "pid": WORKERS, "tid": numbers[track]}
        woken_ns = max(leg.since_ns - flight.woke_ns, ended_at.get(track, base_ns))
        if flight.woke_ns and woken_ns < leg.since_ns:
            yield same | {"name": "wakes", "ts": _us(woken_ns, base_ns), "dur": _us(leg.since_ns, woken_ns)}
        yield same | {
            "name": flight.action,
            "cat": "run",
            "ts": _us(leg.since_ns, base_ns),
            "dur": _us(leg.ended_ns, leg.since_ns),
            "args": _args(leg),
        }
        ended_at[track] = leg.ended_ns


def _counts(legs: Sequence[Leg], base_ns: int) -> Iterator[Event]:
    """How many tasks wait to be run, and how many results for the hub."""
    changes: list[tuple[int, int, int]] = []
    for leg in legs:
        changes += [(leg.taken_ns, 1, 0), (leg.since_ns or leg.answered_ns, -1, 0)]
        if leg.acked_ns:
            changes += [(leg.answered_ns, 0, 1), (leg.acked_ns, 0, -1)]
    changes.sort(key=lambda each: each[0])
    every_ns = max(1, (changes[-1][0] - changes[0][0]) // _COUNTS)
    tasks = results = next_ns = 0
    for position, (at_ns, task, result) in enumerate(changes):
        tasks, results = tasks + task, results + result
        if at_ns >= next_ns or position == len(changes) - 1:
            next_ns = at_ns + every_ns
            counted = {"tasks": tasks, "results": results}
            yield {"ph": "C", "name": "waiting", "pid": SUPERVISOR, "ts": _us(at_ns, base_ns), "args": counted}


def _tracks(legs: Iterable[Leg]) -> dict[tuple[int, int], int]:
    """A number for each worker process, in the order of their slots."""
    workers = {(leg.flight.worker, leg.flight.pid) for leg in legs if leg.flight.worker != NO_WORKER}
    return {worker: number for number, worker in enumerate(sorted(workers), 1)}


def _names(provider: str, legs: Iterable[Leg]) -> list[Event]:
    """The names of the tracks."""
    named: list[Event] = [
        {"ph": "M", "name": "process_name", "pid": SUPERVISOR, "args": {"name": f"{provider}: supervisor"}},
        {"ph": "M", "name": "process_name", "pid": WORKERS, "args": {"name": f"{provider}: workers"}},
    ]
    for (slot, pid), number in _tracks(legs).items():
        same = {"ph": "M", "pid": WORKERS, "tid": number}
        named.append(same | {"name": "thread_name", "args": {"name": f"worker {slot} (pid {pid})"}})
        named.append(same | {"name": "thread_sort_index", "args": {"sort_index": number}})
    return named
