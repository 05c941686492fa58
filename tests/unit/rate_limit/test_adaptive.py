"""The adaptive limit finds what a service can take, gives way when it suffers, and comes back when that is over."""

from __future__ import annotations

import heapq
from typing import Final

import pytest

from arbd.rate_limit.algorithms.adaptive import AdaptiveConcurrency
from arbd.rate_limit.algorithms.base import SECOND_NS

MS: Final = 1_000_000


class Service:
    """Calls take ``base_ms``, and more in proportion when more than ``capacity`` run at once; callers never rest."""

    def __init__(self, limit: AdaptiveConcurrency, capacity: int, base_ms: float = 10.0) -> None:
        self.limit = limit
        self.capacity = capacity
        self.base_ms = base_ms
        self.failing = False
        self.callers = 10_000
        self.now_ns = 0
        self.running: list[tuple[int, int]] = []  # ends, began
        self.took: list[int] = []

    def run(self, seconds: float) -> None:
        until_ns = self.now_ns + round(seconds * SECOND_NS)
        self.took = []
        while self.now_ns < until_ns:
            while len(self.running) < self.callers and self.limit.available(self.now_ns, 0):
                self.limit.spend(self.now_ns, 1)
                load = max(1.0, (len(self.running) + 1) / self.capacity)
                heapq.heappush(self.running, (self.now_ns + round(self.base_ms * MS * load), self.now_ns))
            if not self.running:
                self.now_ns += MS
                continue
            self.now_ns, began_ns = heapq.heappop(self.running)
            if self.failing:
                self.limit.blame(self.now_ns, 1)
            self.limit.charge(self.now_ns, 1, self.now_ns - began_ns, 0)
            self.took.append(self.now_ns - began_ns)


@pytest.mark.parametrize(("capacity", "base_ms"), [(4, 10.0), (20, 10.0), (100, 50.0)])
def test_it_finds_what_the_service_can_take(capacity: int, base_ms: float) -> None:
    limit = AdaptiveConcurrency(1, 1000)
    service = Service(limit, capacity, base_ms)
    service.run(35)
    assert capacity * 0.9 <= limit.limit <= capacity * 2.5
    assert sum(service.took) / len(service.took) <= 2.5 * service.base_ms * MS


def test_it_begins_small_and_grows_fast() -> None:
    limit = AdaptiveConcurrency(1, 1000)
    assert limit.available(0, 0) == 2
    service = Service(limit, capacity=100)
    service.run(0.08)  # eight run times
    assert limit.limit > 50


def test_it_gives_way_when_the_service_slows_down_and_comes_back() -> None:
    limit = AdaptiveConcurrency(1, 1000)
    service = Service(limit, capacity=50, base_ms=20)
    service.run(20)
    before = limit.limit
    service.capacity = 5
    service.run(4)
    assert limit.limit < before / 3
    service.capacity = 50
    service.run(21)
    assert limit.limit >= 45


def test_failures_bring_it_down_and_it_is_never_stuck_at_its_floor() -> None:
    limit = AdaptiveConcurrency(1, 1000)
    service = Service(limit, capacity=50, base_ms=20)
    service.run(10)
    service.failing = True
    service.run(10)
    assert limit.limit <= 25
    for _ in range(200):
        limit.blame(service.now_ns, 1)
        service.now_ns += SECOND_NS
    assert limit.limit == 1.0
    service.failing = False
    service.run(25)
    assert limit.limit >= 45


def test_a_service_that_is_slower_for_good_is_not_starved() -> None:
    limit = AdaptiveConcurrency(1, 1000)
    service = Service(limit, capacity=20)
    service.run(15)
    service.base_ms = 50.0
    service.run(60)
    assert 18 <= limit.limit <= 50


def test_it_grows_only_while_it_is_used() -> None:
    limit = AdaptiveConcurrency(1, 1000)
    service = Service(limit, capacity=100)
    service.callers = 3
    service.run(60)
    assert limit.limit <= 8


@pytest.mark.parametrize(("floor", "ceiling"), [(1, 1), (4, 4), (3, 6)])
def test_it_stays_within_its_bounds(floor: int, ceiling: int) -> None:
    limit = AdaptiveConcurrency(floor, ceiling)
    service = Service(limit, capacity=100)
    service.run(5)
    assert limit.limit == ceiling
    for second in range(100):
        limit.blame(service.now_ns + second * SECOND_NS, 1)
    assert limit.limit == floor


def test_many_failures_of_one_moment_count_once() -> None:
    limit = AdaptiveConcurrency(1, 1000)
    Service(limit, capacity=50, base_ms=50).run(10)
    before = limit.limit
    for _ in range(20):
        limit.blame(10 * SECOND_NS + MS, 1)
    assert limit.limit == before * 0.9


def test_who_is_turned_away_is_told_when_a_call_may_have_ended() -> None:
    limit = AdaptiveConcurrency(1, 10)
    limit.spend(0, 2)
    limit.charge(100 * MS, 1, 100 * MS, 0)
    limit.progress(3, 0)
    assert (int(limit.limit), limit.available(100 * MS, 0)) == (3, 0)
    assert limit.next_at(100 * MS, 0) == 100 * MS + 100 * MS // 3
