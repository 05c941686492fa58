"""A monitor outside a daemon talks to Redis when it must, and waits as told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from arbd.model.limit_spec import LimitSpec, Rates, RedisBackend
from arbd.rate_limit.storage.redis_gate import RedisGate
from arbd.rate_limit.storage.redis_lease import RedisLease
from arbd.rate_limit.storage.redis_script import LeaseReply, LeaseRequest

MS: Final = 1_000_000
SECOND: Final = 1_000_000_000


class Around:
    """Clock, locks and sleep of a process, by hand; and a server that grants all until its stock is used up."""

    def __init__(self, stock: int) -> None:
        self.now_ns = SECOND
        self.slept: list[int] = []
        self.stock = stock
        self.is_down = False
        self.requests: list[LeaseRequest] = []
        self._granted = 0

    def clock(self) -> int:
        return self.now_ns

    cpu_clock = utc_ns = clock

    def new_lock(self) -> threading.Lock:
        return threading.Lock()

    def sleep(self, ns: int) -> None:
        self.slept.append(ns)
        self.now_ns += ns

    def ask(self, request: LeaseRequest, clock: Callable[[], int]) -> LeaseReply | None:
        self.requests.append(request)
        if self.is_down:
            return None
        given = min(request.want, self.stock)
        self.stock -= given
        self._granted += given
        wait_us = 0 if self.stock else 400_000
        return LeaseReply("epoch", 1, self._granted, wait_us, 0, 1, 0)


def a_gate(around: Around) -> RedisGate:
    rates = Rates(max_requests=2000, window_size=1.0)
    spec = LimitSpec("t", "redis", rates, redis=RedisBackend("redis://h", "k", "closed", 0.1))
    return RedisGate(spec, RedisLease(2000, SECOND, "closed", "me"), around.ask, around)


def test_a_call_that_passes_costs_ever_fewer_talks() -> None:
    around = Around(stock=1000)
    gate = a_gate(around)
    assert [gate.take() for _ in range(100)] == [0] * 100
    assert [request.want for request in around.requests] == [1, 2, 4, 8] + [10] * 9


def test_what_was_started_is_reported_with_the_next_question() -> None:
    around = Around(stock=10)
    gate = a_gate(around)
    gate.take()
    gate.take()
    assert around.requests[-1].starts == [(SECOND, 1)]


def test_a_refusal_says_how_long_and_does_not_talk_again_before() -> None:
    around = Around(stock=1)
    gate = a_gate(around)
    assert gate.take() == 0
    assert gate.take() == 400 * MS
    talks = len(around.requests)
    around.now_ns += 100 * MS
    assert gate.take() == 300 * MS
    assert len(around.requests) == talks


def test_who_can_wait_is_admitted_after_the_wait() -> None:
    around = Around(stock=1)
    gate = a_gate(around)
    gate.take()
    assert gate.take() == 400 * MS
    around.stock = 5
    assert gate.take(until_ns=around.now_ns + SECOND) == 0
    assert around.slept == [400 * MS]


def test_looking_takes_nothing() -> None:
    around = Around(stock=3)
    gate = a_gate(around)
    assert [gate.peek() for _ in range(5)] == [0] * 5
    assert around.stock == 3
    around.stock = 0
    assert gate.peek() == 400 * MS


def test_without_redis_it_tries_again_at_intervals_and_not_for_each_call() -> None:
    around = Around(stock=10)
    gate = a_gate(around)
    around.is_down = True
    assert gate.take() == 100 * MS
    assert [gate.take() for _ in range(10)] == [100 * MS] * 10
    assert len(around.requests) == 1
    around.now_ns += 100 * MS
    around.is_down = False
    assert gate.take() == 0


def test_figures_are_those_of_the_limit() -> None:
    around = Around(stock=10)
    gate = a_gate(around)
    gate.take()
    gate.end(gate.begin())
    assert gate.figures().totals.calls == 1
