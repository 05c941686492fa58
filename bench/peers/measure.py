"""What is measured, the same way for every peer. One peer is alive at a time.

Full queue     workers stopped (SIGSTOP), queue filled, clock and workers go; until the caller has every result. Again
               with results kept but not awaited, until all have run; and without results, where a peer has that mode
CPU per task   the same span with the filling: caller, broker and workers together
one at a time  from the call until its result is in the caller's hands, one after the other
5 ms           a full queue of tasks that burn 5 ms, against bare processes that call the same function
hang           from the time limit until the caller has the error; then as many tasks that wait for each other as there
               are workers: when the last of them starts, all workers are back
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from bench.peers import processes
from bench.peers.actions import STARTS, TALLY
from bench.peers.base import TRIVIAL, WORKERS, Peer, TaskFailed
from bench.peers.processes import Spent
from bench.peers.record import Kill, Spans, Speed, Stage

ACTION_S: Final = 0.005
_READY_S: Final = 30.0
_QUEUE_S: Final = 60.0  # nobody needs so long for a span of seconds
_SETTLE_S: Final = 1.0
_PILOT_S: Final = 0.1
_WARM_ONES: Final = 20
_LOOK_S: Final = 0.002
_WATCH_S: Final = 0.1
_BURNING: Final = 0.2  # of one core

Say = Callable[[str], None]


def bare_rate(work: int, span_s: float) -> float:
    """Calls of ``burn`` per second of bare processes, one on each of the first CPUs."""
    cpus = sorted(os.sched_getaffinity(0))[:WORKERS]
    command = [sys.executable, "-m", "bench.peers.burn"]
    bare = [
        subprocess.Popen([*command, str(cpu), str(work), str(span_s)], cwd=processes.ROOT, stdout=subprocess.PIPE)
        for cpu in cpus
    ]
    return sum(float(process.communicate()[0]) for process in bare)


def speed(peer: Peer, work: int, bare_per_s: float, place: Path, spans: Spans, say: Say) -> Speed:
    """Everything but the kills. The peer has been started."""
    say("first tasks")
    _ready(peer)
    tasks = _tasks_of(peer, spans)
    say("trivial tasks")
    before = Spent(peer.broker_pid)
    rate = _full_queue(peer, "quote", TRIVIAL, tasks)
    after = Spent(peer.broker_pid)
    say("without waiting for results")
    unawaited = _tally(peer, "tally", tasks, place) if peer.is_tallied else None
    discarded = _tally(peer, "discard", tasks, place) if peer.can_discard else None
    say("one at a time")
    ones, inner = _ones(peer, spans.ones_s)
    say("5 ms tasks")
    burn_rate = _full_queue(peer, "burn", {"rounds": work}, round(WORKERS * spans.burn_s / ACTION_S))
    return Speed(
        tasks=tasks,
        rate=rate,
        rate_unawaited=unawaited,
        rate_discarded=discarded,
        cpu_us=(after.all_s - before.all_s) / tasks * 1e6,
        cpu_caller_us=(after.caller_s - before.caller_s) / tasks * 1e6,
        cpu_broker_us=(after.broker_s - before.broker_s) / tasks * 1e6,
        ones=len(ones),
        p50_us=statistics.median(ones) * 1e6,
        p99_us=sorted(ones)[int(0.99 * len(ones))] * 1e6,
        inner_p50_us=statistics.median(inner) * 1e6 if inner else None,
        share=burn_rate / bare_per_s,
        bare_calls_per_s=bare_per_s,
    )


def _ready(peer: Peer) -> None:
    """Return when every worker runs tasks."""
    peer.collect(peer.send("quote", TRIVIAL), _READY_S)
    if peer.can_meet:
        peer.collect(peer.send("meet", {"number": WORKERS}, WORKERS), _READY_S)
    else:
        time.sleep(_SETTLE_S)


def _tasks_of(peer: Peer, spans: Spans) -> int:
    """How many trivial tasks fill the span; warms everything up on the way."""
    tasks = 20
    _full_queue(peer, "quote", TRIVIAL, tasks)
    while True:
        rate = _full_queue(peer, "quote", TRIVIAL, tasks)
        if tasks / rate > _PILOT_S or tasks * 4 > spans.most_tasks:
            return max(20, min(spans.most_tasks, round(rate * spans.queue_s)))
        tasks *= 4


@contextmanager
def _paused(peer: Peer) -> Iterator[None]:
    """The workers stand still in here."""
    workers = processes.descendants(but=[peer.broker_pid]) if peer.can_pause else []
    processes.signal_all(workers, signal.SIGSTOP)
    try:
        yield
    finally:
        processes.signal_all(workers, signal.SIGCONT)


def _full_queue(peer: Peer, action: str, arguments: Mapping[str, Any], count: int) -> float:
    """Tasks per second, until all results are here."""
    begin = time.perf_counter()
    with _paused(peer):
        ticket = peer.send(action, arguments, count)
        if peer.can_pause:
            begin = time.perf_counter()
    peer.collect(ticket, _QUEUE_S)
    return count / (time.perf_counter() - begin)


def _tally(peer: Peer, action: str, count: int, place: Path) -> float:
    """Tasks per second, until all have run."""
    file = place / TALLY
    file.write_bytes(b"")
    begin = time.perf_counter()
    with _paused(peer):
        peer.send(action, TRIVIAL, count)
        if peer.can_pause:
            begin = time.perf_counter()
    while file.stat().st_size < count:
        if time.perf_counter() - begin > _QUEUE_S:
            raise TimeoutError(f"{file.stat().st_size} of {count} tasks ran")
        time.sleep(_LOOK_S)
    return count / (time.perf_counter() - begin)


def _ones(peer: Peer, span_s: float) -> tuple[list[float], list[float]]:
    """Seconds of single tasks, for the caller and by the broker's clock."""
    taken, inner = [], []
    for _ in range(_WARM_ONES):
        peer.collect(peer.send("quote", TRIVIAL), _READY_S)
    end_at = time.perf_counter() + span_s
    while (begin := time.perf_counter()) < end_at:
        peer.collect(peer.send("quote", TRIVIAL), _READY_S)
        taken.append(time.perf_counter() - begin)
        inner += peer.inner_s()
    return taken, inner


def kill(peer: Peer, action: Stage, place: Path, spans: Spans, say: Say) -> Kill:
    """How late a task that hangs is answered. The peer has been started, and has a time limit."""
    say("first tasks")
    _ready(peer)
    say("a task that hangs")
    (place / STARTS).write_bytes(b"")
    ticket = peer.send(action, {})
    pid, start_ns = _wait_hang(place)
    limit_s = peer.limit_s
    assert limit_s is not None
    deadline_at = start_ns / 1e9 + limit_s
    time.sleep(max(0.0, deadline_at - time.monotonic()))
    peer.expire(ticket)
    try:
        peer.collect(ticket, spans.patience_s)
    except TimeoutError:
        return Kill(None, None)
    except TaskFailed:
        answered_ms = (time.monotonic() - deadline_at) * 1e3
    else:
        raise RuntimeError("a task that hangs was answered with success")
    say("until all workers are back")
    back_at = _wait_meeting(peer, place, spans) if peer.can_meet else _wait_calm(pid, spans)
    return Kill(answered_ms, None if back_at is None else (back_at - deadline_at) * 1e3)


def _wait_hang(place: Path) -> tuple[int, int]:
    """The process that hangs, and since when."""
    give_up_at = time.monotonic() + _READY_S
    while time.monotonic() < give_up_at:
        words = (place / STARTS).read_text().split()
        if len(words) == 3:
            return int(words[1]), int(words[2])
        time.sleep(_LOOK_S)
    raise TimeoutError("the task that hangs was not started")


def _wait_meeting(peer: Peer, place: Path, spans: Spans) -> float | None:
    """The moment at which the last of all workers started a task again."""
    ticket = peer.send("meet", {"number": WORKERS}, WORKERS)
    try:
        peer.collect(ticket, spans.patience_s)
    except (TaskFailed, TimeoutError):
        return None
    return max(int(line.split()[2]) for line in (place / STARTS).read_text().splitlines()) / 1e9


def _wait_calm(pid: int, spans: Spans) -> float | None:
    """The moment at which a process is gone, or burns no more CPU."""
    give_up_at = time.monotonic() + spans.patience_s
    try:
        process = psutil.Process(pid)
        while time.monotonic() < give_up_at:
            before = sum(process.cpu_times()[:2])
            time.sleep(_WATCH_S)
            if sum(process.cpu_times()[:2]) - before < _BURNING * _WATCH_S:
                return time.monotonic() - _WATCH_S
    except psutil.NoSuchProcess:
        return time.monotonic()
    return None
