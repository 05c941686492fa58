"""A daemon's rate limits without the rest of the daemon: the real reconciler, the real seats, real processes.

    python -m bench.limits_rig JSON          one run; prints its outcome as JSON

The process that runs this is the supervisor (``arbd.supervisor.limits`` on uvloop); it forks the workers, kills some of
them with SIGKILL and replaces them. Each worker asks for a call as often as its load says, and writes the moment of
every admission (the one its seat publishes) into shared memory, so no start is missing from the trace, however a
worker ends. The whole trace is then checked: every interval between any two starts, not a sample of them.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from arbd.author.provider import Provider
from arbd.host import doorbell, memory
from arbd.ipc import layout
from arbd.ipc.cell import SupervisorCell
from arbd.model.description import Description
from arbd.model.limit_spec import LimitSpec, Rates, RedisBackend
from arbd.rate_limit import CustomRateLimitMonitor
from arbd.rate_limit.algorithms.build import burst_of
from arbd.rate_limit.limit_monitor import LimitMonitor
from arbd.supervisor.limits.limits import DaemonLimits
from arbd.worker.limits.seats import Bells, WorkerLimits
from arbd.worker.numbers import Numbers

_RING: Final = layout.MIN_RING_BYTES
_TRACE_BYTES: Final = 8 * 1024 * 1024  # a million starts of one worker
_TURN_NS: Final = 250_000_000  # how long a worker stays the hot one
_WARM_S: Final = 0.2


class Plan(msgspec.Struct, frozen=True):
    """One run. ``load``: "even" (all try all the time), "hot" (nine of ten tries come from one worker), "moving" (the
    same, another worker every 250 ms). ``kills`` per second. ``stall_s``: the supervisor stops once for so long;
    ``clock_jumps``: the clock on the wall jumps by days all the time."""

    rates: Rates
    workers: int
    seconds: float
    load: str = "even"
    kills: float = 0.0
    stall_s: float = 0.0
    clock_jumps: bool = False
    seed: int = 1
    shared: str | None = None
    directory: str = "/nonexistent"
    redis_url: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """``over``: starts that came too early; ``used``: starts, of those that were allowed; ``asked``: questions."""

    starts: int
    over: int
    used: float
    killed: int
    asked: int
    supervisor_cpu_s: float
    began_ns: int = 0
    ended_ns: int = 0
    trace: list[int] = []  # all starts, where several rigs share the limit


class Place:
    """One worker process: its memory and its trace."""

    def __init__(self, slot: int, worker_id: int) -> None:
        self.slot = slot
        self.id = worker_id
        self.pid = 0
        self.memory = mmap.mmap(-1, layout.cell_bytes(_RING) + layout.ledger_bytes(1, 0))
        self.words = memory.words_of(self.memory)
        self.trace = memory.words_of(mmap.mmap(-1, _TRACE_BYTES))
        self.bell = doorbell.create()
        SupervisorCell(self.memory, self.words, _RING)

    @property
    def seats(self) -> memoryview:
        return self.words[layout.seat_at(_RING, 0) :]

    def starts(self) -> list[int]:
        return self.trace[1 : 1 + self.trace[0]].tolist()


Work = Callable[[Plan, Place, LimitMonitor, int], None]
"""What a worker process does, with its place and the bell of the supervisor's limits."""


class Rig:
    """The supervisor of one run."""

    def __init__(self, plan: Plan, work: Work | None = None) -> None:
        self.plan = plan
        self.work = work or _work
        self.monitor: LimitMonitor = CustomRateLimitMonitor()
        backend = RedisBackend(plan.redis_url, "rig", "closed", 1.0) if plan.redis_url else None
        self.monitor.spec = LimitSpec("limit", "custom", plan.rates, shared=plan.shared, redis=backend)
        self.limits = DaemonLimits(f"rig-{os.getpid()}", Path(plan.directory))
        self.description = Description(given={}, actions=[], limits=[self.monitor.spec])
        self.random = random.Random(plan.seed)
        self.places: list[Place] = []
        self.live: dict[int, Place] = {}
        self.killed = 0

    async def run(self) -> Outcome:
        for slot in range(self.plan.workers):
            self._start(slot)
        await asyncio.sleep(_WARM_S)
        began_ns = time.monotonic_ns()
        began_cpu = time.process_time()
        await asyncio.gather(asyncio.sleep(self.plan.seconds), self._kill_some(began_ns))
        cpu_s = time.process_time() - began_cpu
        ended_ns = time.monotonic_ns()
        for place in list(self.live.values()):
            self._end(place)
        return self._judge(began_ns, ended_ns, cpu_s)

    def _start(self, slot: int) -> None:
        place = Place(slot, len(self.places) + 1)
        self.places.append(place)
        self.live[slot] = place
        self.limits.attach(place.id, self.description, place.seats, place.bell)
        place.pid = os.fork()
        if place.pid == 0:
            try:
                self.work(self.plan, place, self.monitor, self.limits.bell)
            finally:
                os._exit(1)

    def _end(self, place: Place) -> None:
        os.kill(place.pid, signal.SIGKILL)
        os.waitpid(place.pid, 0)
        self.limits.detach(place.id)
        del self.live[place.slot]

    async def _kill_some(self, began_ns: int) -> None:
        if not self.plan.kills:
            return
        end_ns = began_ns + round(self.plan.seconds * 1e9)
        while time.monotonic_ns() < end_ns:
            await asyncio.sleep(self.random.expovariate(self.plan.kills))
            slot = self.random.randrange(self.plan.workers)
            self._end(self.live[slot])
            self._start(slot)
            self.killed += 1

    def _judge(self, began_ns: int, ended_ns: int, cpu_s: float) -> Outcome:
        starts = sorted(start for place in self.places for start in place.starts())
        inside = [start for start in starts if began_ns <= start < ended_ns]
        return Outcome(
            starts=len(starts),
            over=too_many(starts, self.plan.rates),
            used=len(inside) / allowed(self.plan.rates, ended_ns - began_ns),
            killed=self.killed,
            asked=sum(place.seats[layout.ASKED] for place in self.places),
            supervisor_cpu_s=cpu_s,
            began_ns=began_ns,
            ended_ns=ended_ns,
            trace=starts if self.plan.shared or self.plan.redis_url else [],
        )


def together(outcomes: Sequence[Outcome], rates: Rates) -> Outcome:
    """Several rigs that shared one limit, as one; what was used is counted while all of them ran."""
    starts = sorted(start for outcome in outcomes for start in outcome.trace)
    began_ns = max(outcome.began_ns for outcome in outcomes)
    ended_ns = min(outcome.ended_ns for outcome in outcomes)
    inside = sum(began_ns <= start < ended_ns for start in starts)
    return Outcome(
        starts=len(starts),
        over=too_many(starts, rates),
        used=inside / allowed(rates, ended_ns - began_ns),
        killed=sum(outcome.killed for outcome in outcomes),
        asked=sum(outcome.asked for outcome in outcomes),
        supervisor_cpu_s=sum(outcome.supervisor_cpu_s for outcome in outcomes),
        trace=starts,
    )


def _work(plan: Plan, place: Place, monitor: LimitMonitor, limits_bell: int) -> None:
    """A worker: for ever."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    bells = Bells(ask=limits_bell, answer=place.bell)
    limits = WorkerLimits(place.words, Provider("rig"), Numbers([], ["limit"]), bells)
    take, seat, trace = monitor.gate.take, place.seats, place.trace
    slow_ns = round(1e9 * plan.workers / (0.1 * _per_second(plan.rates)))  # between two tries of a worker with few
    count = 0
    while True:
        wait_ns = take()
        if wait_ns == 0:
            trace[count + 1] = seat[layout.LAST_START_NS]
            count += 1
            trace[0] = count
        else:
            time.sleep(min(wait_ns, 1_000_000) / 1e9)
        if not _is_hot(plan, place.slot):
            limits.give_back()
            time.sleep(min(slow_ns, 20_000_000) / 1e9)


def _is_hot(plan: Plan, slot: int) -> bool:
    if plan.load == "even":
        return True
    if plan.load == "hot":
        return slot == 0
    return time.monotonic_ns() // _TURN_NS % plan.workers == slot


def _per_second(rates: Rates) -> float:
    if rates.requests_per_minute is not None:
        return rates.requests_per_minute / 60
    assert rates.max_requests is not None
    assert rates.window_size is not None
    return rates.max_requests / rates.window_size


def allowed(rates: Rates, length_ns: int) -> float:
    """How many starts a limit that was in use before allows within this time: what flows in."""
    return _per_second(rates) * length_ns / 1e9


def too_many(starts: Sequence[int], rates: Rates) -> int:
    """Starts that break the limit. ``starts`` in order. Every interval between two of them is looked at: for a window
    it is enough to compare each start with the one ``max_requests`` before it; for a bucket, with the worst before it.
    """
    if rates.max_requests is not None and rates.window_size is not None:
        window_ns = round(rates.window_size * 1e9)
        pairs = zip(starts, starts[rates.max_requests :], strict=False)
        return sum(last - first < window_ns for first, last in pairs)
    assert rates.requests_per_minute is not None
    period, calls, burst = 60 * 10**9, round(rates.requests_per_minute), burst_of(rates)
    found, least = 0, None
    for number, start in enumerate(starts):
        filled = number * period - calls * start
        least = filled if least is None else min(least, filled)
        found += filled - least > (burst - 1) * period
    return found


def _jumping_clock() -> None:
    """Every look at the clock on the wall shows another day."""
    days = random.Random(7)
    real = time.time_ns
    time.time_ns = lambda: real() + days.randrange(-400, 400) * 86_400 * 10**9


async def _main(plan: Plan) -> Outcome:
    rig = Rig(plan)
    try:
        return await rig.run()
    finally:
        rig.limits.close()
        await rig.limits.wait_closed()


if __name__ == "__main__":
    given = msgspec.json.decode(sys.argv[1], type=Plan)
    if given.clock_jumps:
        _jumping_clock()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(_main(given))).decode())
