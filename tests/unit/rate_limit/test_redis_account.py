"""Between a worker's seat and Redis: who asks waits for the answer, and what is only on loan is not used too late."""

from __future__ import annotations

import threading
from typing import Final

from arbd.ipc import layout
from arbd.model.limit_spec import LimitSpec, OnBackendError, Rates
from arbd.rate_limit.grants.account import Account
from arbd.rate_limit.grants.supervisor_seat import SupervisorSeat
from arbd.rate_limit.grants.worker_seat import WorkerSeat
from arbd.rate_limit.storage.redis_lease import RedisLease
from arbd.rate_limit.storage.redis_script import LEASE_NS, LeaseReply

MS: Final = 1_000_000
SECOND: Final = 1_000_000_000


class World:
    """Two workers, their account, and a Redis that grants from a stock; one clock."""

    def __init__(self, on_error: OnBackendError = "closed") -> None:
        self.now_ns = SECOND
        self.stock = 100
        self.is_down = False
        self.talks = 0
        self._granted = 0
        self.lease = RedisLease(1000, SECOND, on_error, "me")
        spec = LimitSpec("t", "redis", Rates(max_requests=1000, window_size=1.0))
        self.account = Account(spec, self.lease)
        self.seats = [self._boot(1), self._boot(2)]
        self.asleep = False  # the supervisor

    def _boot(self, worker_id: int) -> WorkerSeat:
        words = memoryview(bytearray(layout.SEAT_WORDS * 8)).cast("Q")
        self.account.attach(worker_id, SupervisorSeat(words))
        return WorkerSeat(words, self)

    # what a worker needs of its process
    def clock(self) -> int:
        return self.now_ns

    cpu_clock = clock

    def new_lock(self) -> threading.Lock:
        return threading.Lock()

    def ring(self) -> None:
        """Seen at the next look."""

    def sleep(self, ns: int) -> None:
        self.now_ns += ns

    def wait_rung(self, timeout_ns: int) -> None:
        if self.asleep:
            self.now_ns += timeout_ns
            return
        self.look()
        due_ns = self.lease.due_at()
        if due_ns is not None and due_ns <= self.now_ns:
            self.talk()
            self.look()

    # what the supervisor does
    def look(self) -> None:
        self.account.observe()
        self.account.decide(self.now_ns, self.now_ns)

    def talk(self) -> None:
        self.talks += 1
        request = self.lease.plan(self.now_ns)
        if self.is_down:
            self.lease.fail(self.now_ns)
            return
        if not request.granted:
            self._granted = 0
        given = min(request.want, self.stock)
        self.stock -= given
        self._granted += given
        wait_us = 0 if self.stock else 400_000
        self.lease.receive(LeaseReply("epoch", 1, self._granted, wait_us, 0, 1, 0), self.now_ns, self.now_ns)


def grant(world: World) -> None:
    """The first worker starts a call and holds at least one more grant."""
    while world.account.outstanding == 0:
        assert world.seats[0].take() == 0
        world.look()


def test_who_asks_waits_for_redis_and_starts() -> None:
    world = World()
    assert world.seats[0].take() == 0
    assert world.seats[1].take() == 0


def test_a_refusal_of_redis_is_what_a_worker_is_told() -> None:
    world = World()
    world.stock = 0
    assert world.seats[0].take() == 400 * MS
    talks = world.talks
    assert world.seats[0].take() == 400 * MS
    assert world.talks == talks


def test_what_a_worker_holds_is_void_when_the_lease_has_ended() -> None:
    world = World()
    grant(world)
    world.asleep = True
    world.now_ns += LEASE_NS
    assert world.seats[0].take() > 0
    world.look()
    assert world.account.outstanding == 0


def test_what_a_worker_holds_can_be_used_until_then() -> None:
    world = World()
    grant(world)
    world.asleep = True
    world.now_ns += LEASE_NS // 2
    assert world.seats[0].take() == 0


def test_what_is_void_here_does_not_stand_in_the_way_of_others() -> None:
    world = World()
    grant(world)
    world.now_ns += LEASE_NS
    assert world.seats[1].take() == 0


def test_the_lease_goes_on_for_what_a_worker_still_holds() -> None:
    world = World()
    grant(world)
    for _ in range(20):
        world.now_ns += LEASE_NS // 8
        world.look()
        world.talk()
        world.look()
    world.asleep = True
    assert world.seats[0].take() == 0


def test_grants_of_a_share_are_void_when_redis_is_back() -> None:
    world = World("local")
    world.is_down = True
    world.talk()
    grant(world)
    world.now_ns += LEASE_NS  # long after
    world.look()
    world.asleep = True
    assert world.seats[0].take() == 0  # the share knows no lease
    world.asleep = False
    world.look()
    grant(world)
    world.is_down = False
    world.talk()
    world.look()
    world.asleep = True
    assert world.seats[0].take() > 0
