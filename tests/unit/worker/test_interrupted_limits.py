"""Wherever a task's deadline is raised, what a limit counts as begun ends, nothing is asked that nobody waits for, no
lock stays taken, and the next call passes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from interruptions import LATE, Interruptions, elsewhere, interruptions

from arbd.author.provider import Provider
from arbd.host.timing import ProcessTiming
from arbd.interrupts import interruptible
from arbd.ipc import layout
from arbd.model.limit_spec import LimitSpec, Rates, RedisBackend
from arbd.model.task import Task
from arbd.rate_limit import AdvancedRateLimitMonitor, CustomRateLimitMonitor
from arbd.rate_limit.gates import LocalGate
from arbd.rate_limit.grants.account import Account
from arbd.rate_limit.grants.live import LiveLimit, SupervisorLive
from arbd.rate_limit.grants.supervisor_seat import SupervisorSeat
from arbd.rate_limit.grants.worker_seat import WorkerSeat
from arbd.rate_limit.limit_monitor import LimitMonitor
from arbd.rate_limit.storage.redis_gate import RedisGate
from arbd.rate_limit.storage.redis_lease import RedisLease
from arbd.rate_limit.storage.redis_script import LeaseReply, LeaseRequest
from arbd.worker.execute import Context, execute
from arbd.worker.limits.monitor_client import MonitorClient, MonitorQuery, MonitorReply, decode_query, encode
from arbd.worker.limits.seats import Bells, WorkerLimits
from arbd.worker.numbers import Numbers

__all__ = ["interruptions"]
# Its own way would be the alarm that the soft timer has here; and what hangs here, hangs at a lock that was left taken.
pytestmark = pytest.mark.timeout(60, method="thread")

MS = 1_000_000
SECOND = 1_000_000_000
SPACING = LimitSpec("t", "time_based", Rates(min_delay=0.1))


class Daemon:
    """A supervisor's account, and one worker's seat in it. It answers while the worker waits."""

    def __init__(self, spec: LimitSpec) -> None:
        self.now_ns = SECOND
        self.locks: list[threading.Lock] = []
        self.account = Account(spec)
        self.words = memoryview(bytearray(layout.SEAT_WORDS * 8)).cast("Q")
        self.account.attach(1, SupervisorSeat(self.words))
        self.seat = WorkerSeat(self.words, self)

    def clock(self) -> int:
        return self.now_ns

    cpu_clock = utc_ns = clock

    def new_lock(self) -> threading.Lock:
        self.locks.append(threading.Lock())
        return self.locks[-1]

    def ring(self) -> None:
        """Seen while it waits."""

    @interruptible
    def wait_rung(self, timeout_ns: int) -> None:
        self.look()

    @interruptible
    def sleep(self, ns: int) -> None:
        self.now_ns += ns

    @elsewhere
    def look(self) -> None:
        self.account.observe()
        self.account.decide(self.now_ns, self.now_ns)
        self.now_ns += MS

    def check(self) -> None:
        """Nothing of the call before is left, and another passes."""
        words = self.words
        assert not any(lock.locked() for lock in self.locks)
        assert words[layout.NEED] == 0
        assert words[layout.SPENT] <= 1
        if self.account.spec.metered:
            assert words[layout.ENDED] == words[layout.SPENT]
        self.seat.give_back()
        self.look()
        assert self.account.outstanding == 0
        self.now_ns += 10 * SECOND
        assert self.seat.take() == 0


class Tasks:
    """A provider with one action under a monitor, and what a worker does with its task."""

    def __init__(self, monitor: LimitMonitor) -> None:
        self.monitor = monitor
        self.provider = Provider("fx")
        self.provider.actions.register(name="act", rate_limit_monitor=monitor)(lambda: 1)

    def run(self, interruptions: Interruptions) -> None:
        """One task in a worker that has run none: what an action needs is made by its first."""
        context = Context(self.provider, utc_now=lambda: datetime.now(UTC), run_async=lambda awaitable, deadline: None)
        interruptions.under_deadline(lambda: execute(context, Task("t", "act", b"", b""), LATE))


@pytest.mark.parametrize("until_ns", [0, 100 * SECOND])
def test_a_seat_that_asks_for_a_start(interruptions: Interruptions, until_ns: int) -> None:
    count = interruptions.everywhere(
        lambda: Daemon(SPACING),
        lambda daemon: interruptions.under_deadline(lambda: daemon.seat.take(until_ns)),
        Daemon.check,
    )
    assert count > 50


def test_a_seat_whose_start_is_promised_for_later(interruptions: Interruptions) -> None:
    def make() -> Daemon:
        daemon = Daemon(SPACING)
        daemon.account.limit.spend(daemon.now_ns, 1)
        return daemon

    interruptions.everywhere(
        make,
        lambda daemon: interruptions.under_deadline(lambda: daemon.seat.take(daemon.now_ns + SECOND)),
        Daemon.check,
    )


def test_a_seat_that_is_looked_at(interruptions: Interruptions) -> None:
    interruptions.everywhere(
        lambda: Daemon(SPACING), lambda daemon: interruptions.under_deadline(lambda: daemon.seat.peek()), Daemon.check
    )


METERED = {
    "budget": LimitSpec(
        "t", "advanced", Rates(max_time_per_second=1.0), metered=True
    ),  # one by one until one has ended
    "adaptive": LimitSpec("t", "adaptive", Rates(min_concurrency=1, max_concurrency=1), metered=True),
}


@pytest.mark.parametrize("spec", METERED.values(), ids=METERED)
def test_the_call_of_a_task_ends_whenever_it_began(interruptions: Interruptions, spec: LimitSpec) -> None:
    tasks = Tasks(LimitMonitor.of(spec))

    def act(daemon: Daemon) -> None:
        tasks.monitor.attach(daemon.seat)
        tasks.run(interruptions)

    interruptions.everywhere(lambda: Daemon(spec), act, Daemon.check)


@pytest.mark.parametrize("spec", METERED.values(), ids=METERED)
def test_a_call_by_hand_ends_whenever_it_began(interruptions: Interruptions, spec: LimitSpec) -> None:
    monitor = LimitMonitor.of(spec)

    def act(daemon: Daemon) -> None:
        monitor.attach(daemon.seat)
        interruptions.under_deadline(lambda: monitor.make_safe_request(int))

    interruptions.everywhere(lambda: Daemon(spec), act, Daemon.check)


# The author's own function may be interrupted between its call and its `await`, like any code of the author's.
@pytest.mark.filterwarnings("ignore:coroutine '.*request' was never awaited:RuntimeWarning")
@pytest.mark.parametrize("spec", METERED.values(), ids=METERED)
def test_a_call_by_hand_ends_on_a_loop_of_the_action_s_own_too(interruptions: Interruptions, spec: LimitSpec) -> None:
    monitor = LimitMonitor.of(spec)

    async def request() -> int:
        return 1

    def act(daemon: Daemon) -> None:
        monitor.attach(daemon.seat)
        coroutine = monitor.make_safe_request(request)
        try:
            interruptions.under_deadline(lambda: coroutine.send(None))
        except StopIteration:
            pass
        finally:
            coroutine.close()  # as `asyncio.run` lets go of it

    interruptions.everywhere(lambda: Daemon(spec), act, Daemon.check)


def test_a_check_of_the_author_s_own_may_come_before_the_counting(interruptions: Interruptions) -> None:
    class Mine(AdvancedRateLimitMonitor):
        def check_rate_limits(self) -> None:
            return None

    tasks = Tasks(Mine(max_time_per_second=1.0))

    def act(daemon: Daemon) -> None:
        tasks.monitor.attach(daemon.seat)
        tasks.run(interruptions)

    interruptions.everywhere(lambda: Daemon(METERED["budget"]), act, Daemon.check)


@pytest.mark.parametrize("spec", METERED.values(), ids=METERED)
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_gate_of_this_process_alone(
    interruptions: Interruptions, spec: LimitSpec, by_hand: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = [SECOND]
    tasks = Tasks(LimitMonitor.of(spec))
    monkeypatch.setattr(ProcessTiming, "clock", staticmethod(lambda: now_ns[0]))
    monkeypatch.setattr(ProcessTiming, "cpu_clock", staticmethod(lambda: now_ns[0]))

    def make() -> LimitMonitor:
        tasks.monitor.attach(LocalGate(spec, ProcessTiming(), lambda *_: None))
        return tasks.monitor

    def act(monitor: LimitMonitor) -> None:
        if by_hand:
            interruptions.under_deadline(lambda: monitor.make_safe_request(int))
        else:
            tasks.run(interruptions)

    def check(monitor: LimitMonitor) -> None:
        now_ns[0] += SECOND
        assert monitor.make_safe_request(lambda: "made") == "made"

    interruptions.everywhere(make, act, check)


# -- those who talk to somebody else ---------------------------------------------------------------------------------


class Redis:
    """A gate over Redis, and what Redis answers."""

    def __init__(self) -> None:
        self.now_ns = SECOND
        self.locks: list[threading.Lock] = []
        self.granted = 0
        spec = LimitSpec(
            "t",
            "redis",
            Rates(max_requests=4, window_size=1.0),
            redis=RedisBackend("redis://h", "k", "closed", 0.1),
        )
        self.gate = RedisGate(spec, RedisLease(4, SECOND, "closed", "me"), self.ask, self)

    def clock(self) -> int:
        return self.now_ns

    cpu_clock = utc_ns = clock
    new_lock = Daemon.new_lock

    @interruptible
    def sleep(self, ns: int) -> None:
        self.now_ns += ns

    def ask(self, request: LeaseRequest, clock: Callable[[], int]) -> LeaseReply:
        self.granted += request.want
        return LeaseReply("epoch", 1, self.granted, 0, 0, 1, 0)


@pytest.mark.parametrize("op", ["take", "peek"])
def test_a_gate_over_redis(interruptions: Interruptions, op: str) -> None:
    def check(redis: Redis) -> None:
        assert not any(lock.locked() for lock in redis.locks)
        redis.now_ns += 10 * SECOND
        assert redis.gate.take() == 0

    interruptions.everywhere(Redis, lambda redis: interruptions.under_deadline(getattr(redis.gate, op)), check)


class Line:
    """A connection to the shared monitors: each query gets its own reply, in order."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.is_closed = False

    def send(self, message: bytes) -> None:
        if self.is_closed:
            raise OSError("closed")
        self.answers.append(encode(MonitorReply({"number": decode_query(message).number})))

    def recv(self, size: int) -> bytes:
        return self.answers.pop(0)

    def close(self) -> None:
        self.is_closed = True


def test_a_query_to_a_shared_monitor_gets_its_own_reply(
    interruptions: Interruptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MonitorClient, "_connect", lambda self: Line())

    def check(client: MonitorClient) -> None:
        assert client.ask(MonitorQuery(2, "count")) == {"number": 2}

    interruptions.everywhere(
        lambda: MonitorClient(b""),
        lambda client: interruptions.under_deadline(lambda: client.ask(MonitorQuery(1, "count"))),
        check,
    )


class Told:
    """A worker that sets a limit while the daemon runs, and the supervisor that hears of it."""

    def __init__(self) -> None:
        ring = layout.MIN_RING_BYTES
        words = memoryview(bytearray(layout.cell_bytes(ring) + layout.ledger_bytes(0, 1))).cast("Q")
        words[layout.RING_SIZE] = ring
        self.supervisor = SupervisorLive(words[len(words) - layout.LIVE_WORDS :])
        self.provider = Provider("fx")
        self.provider.actions.register(name="act")(lambda: 1)
        told = self

        class Rings(Bells):
            def __init__(self) -> None:
                """No bells: the supervisor is here."""

            def ring(self) -> None:
                """Heard while it waits."""

            @interruptible
            def wait_rung(self, timeout_ns: int) -> None:
                told.hear()

        self.heard: list[LiveLimit] = []
        self.limits = WorkerLimits(words, self.provider, Numbers(["act"], []), Rings())

    @elsewhere
    def hear(self) -> None:
        if (request := self.supervisor.request()) is not None:
            self.heard.append(request)
            self.supervisor.answer(granted=True)

    def set(self, calls: int) -> None:
        self.provider.actions.set_custom_rate_limit("act", CustomRateLimitMonitor(1.0, calls))


def test_a_limit_that_is_set_while_the_daemon_runs(
    interruptions: Interruptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbd.rate_limit.registry.seal", lambda: None)

    def check(told: Told) -> None:
        told.set(2)
        limit = told.heard[-1].limit
        assert limit is not None
        assert limit.rates.max_requests == 2

    interruptions.everywhere(Told, lambda told: interruptions.under_deadline(lambda: told.set(1)), check)


def test_threads_that_wait_for_their_turn_to_ask_can_be_interrupted(interruptions: Interruptions) -> None:
    """Another thread asks, and is not answered soon: the deadline of the task behind it is still raised."""
    daemon = Daemon(SPACING)
    lock = daemon.locks[1]
    lock.acquire()
    slept = []

    @interruptible
    def sleep(ns: int) -> None:
        slept.append(ns)
        lock.release()

    daemon.sleep = sleep  # type: ignore[method-assign] # this object's alone
    assert daemon.seat.take() == 0
    assert len(slept) == 1
