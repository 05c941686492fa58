"""Whatever gets lost, comes late, dies or is set back between members and Redis: no window sees too many starts.

The real script on a real server, with a clock that is stepped by hand in the place of the server's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_support import RedisServer
from thoroughness import examples

from arbd.rate_limit.storage.redis_lease import RedisLease
from arbd.rate_limit.storage.redis_script import LEASE_NS, LUA, MARGIN_NS, LeaseReply, LeaseRequest

MS: Final = 1_000_000
SECOND: Final = 1_000_000_000
WINDOW: Final = SECOND
MEMBERS: Final = 2
BY_HAND: Final = LUA.replace("redis.call('TIME')", "{KEYS[2], KEYS[3]}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    assert BY_HAND != LUA
    directory: Path = tmp_path_factory.mktemp("redis")
    with RedisServer(directory) as server, server.client() as client:
        yield client


class Flight(NamedTuple):
    """A request under way, and what came back so far."""

    arguments: list[Any]
    sent_at_ns: int
    reply: LeaseReply | None = None


class World:
    """Members that share one limit, and the network between them and the server."""

    def __init__(self, client: Any, calls: int, window_ns: int = WINDOW) -> None:
        client.flushall()
        self._client = client
        self._script = client.register_script(BY_HAND)
        self.calls = calls
        self.window_ns = window_ns
        self.now_ns = 1000 * SECOND
        self.set_by_ns = 1_700_000_000 * SECOND  # of the server's clock
        self.set_back_ns = 0  # in all; as much longer some starts may count
        self.starts: list[int] = []
        self.stray: list[list[Any]] = []
        self._named = 0
        self.leases = [self._member() for _ in range(MEMBERS)]
        self.flights: list[Flight | None] = [None] * MEMBERS

    def _member(self) -> RedisLease:
        self._named += 1
        return RedisLease(self.calls, self.window_ns, "closed", f"member{self._named}")

    def run(self, arguments: list[Any]) -> LeaseReply:
        seconds, rest = divmod((self.now_ns + self.set_by_ns) // 1000, 1_000_000)
        return LeaseReply.of(self._script(keys=["limit", str(seconds), str(rest)], args=arguments))

    # what may happen
    def advance(self, ns: int) -> None:
        self.now_ns += ns

    def use(self, m: int) -> bool:
        """A start, if it may be; otherwise it is asked for."""
        lease = self.leases[m]
        if lease.available(self.now_ns, 0) > 0:
            lease.spend(self.now_ns, 1)
            self.starts.append(self.now_ns)
            return True
        lease.refill(self.now_ns, 2)
        lease.settle(self.now_ns, 0)
        return False

    def send(self, m: int) -> None:
        if self.flights[m] is None:
            request = self.leases[m].plan(self.now_ns)
            self.flights[m] = Flight(request.arguments(self.now_ns), self.now_ns)

    def serve(self, m: int) -> None:
        flight = self.flights[m]
        if flight is not None and flight.reply is None:
            self.flights[m] = flight._replace(reply=self.run(flight.arguments))

    def hear(self, m: int) -> None:
        flight = self.flights[m]
        if flight is not None and flight.reply is not None:
            self.flights[m] = None
            self.leases[m].receive(flight.reply, flight.sent_at_ns, self.now_ns)

    def lose(self, m: int) -> None:
        """No answer in time. A request that has not arrived yet may still do so."""
        flight = self.flights[m]
        if flight is not None:
            self.flights[m] = None
            self.leases[m].fail(self.now_ns)
            if flight.reply is None:
                self.stray.append(flight.arguments)

    def arrive(self, m: int) -> None:
        if self.stray:
            self.run(self.stray.pop(m % len(self.stray)))

    def crash(self, m: int) -> None:
        self.flights[m] = None
        self.leases[m] = self._member()

    def set_back(self, ns: int) -> None:
        self.set_by_ns -= ns
        self.set_back_ns += ns

    # more than one of them at a time
    def talk(self, m: int) -> None:
        self.send(m)
        self.serve(m)
        self.hear(m)

    def start(self, m: int) -> bool:
        """A start, after one talk at most."""
        if self.use(m):
            return True
        self.talk(m)
        return self.use(m)


def over(starts: list[int], calls: int, window_ns: int) -> list[int]:
    """Every start that has too many others less than a window behind it."""
    return [first for first, last in zip(starts, starts[calls:], strict=False) if last - first < window_ns]


member = st.integers(0, MEMBERS - 1)
length = st.sampled_from([MS, 300 * MS, 990 * MS, LEASE_NS - MARGIN_NS - MS])
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["start", "use", "send", "serve", "hear", "lose", "crash", "arrive"]), member),
        st.tuples(st.just("start"), member),
        st.tuples(st.just("advance"), length),
        st.tuples(st.just("set_back"), length),
    ),
    min_size=40,
    max_size=80,
)


@settings(max_examples=examples(400))
@given(calls=st.integers(1, 3), happened=steps)
def test_no_window_sees_too_many_starts(server: Any, calls: int, happened: list[tuple[str, int]]) -> None:
    world = World(server, calls)
    for name, argument in happened:
        getattr(world, name)(argument)
    assert over(world.starts, calls, WINDOW) == []
    # And nothing is lost for good: when all is forgotten, all of the limit is there again.
    world.advance(LEASE_NS + WINDOW + MS + world.set_back_ns)
    world.crash(0)
    assert [world.start(0) for _ in range(calls + 1)] == [True] * calls + [False]


def test_many_starts_are_dated_in_groups_and_later_than_they_were(server: Any) -> None:
    window_ns, group_ns = 512 * MS, MS
    world = World(server, calls=600, window_ns=window_ns)
    world.advance(MS // 3)
    while world.start(0):
        pass
    assert len(world.starts) == 600
    world.talk(0)
    world.advance(window_ns - MS // 100)
    assert not world.start(0)
    world.advance(group_ns)
    assert world.start(0)


def test_a_caller_who_waits_as_told_is_admitted(server: Any) -> None:
    world = World(server, calls=3)
    for ns in (0, 100 * MS, 100 * MS):
        world.advance(ns)
        assert world.start(0)
    world.talk(0)
    world.talk(1)
    assert not world.start(1)
    wait_ns = world.leases[1].next_at(world.now_ns, 0) - world.now_ns
    assert wait_ns == 800 * MS
    world.advance(wait_ns - MS)
    assert not world.start(1)
    world.advance(MS)
    assert world.start(1)


def test_a_request_of_a_lease_that_has_ended_brings_nothing_back(server: Any) -> None:
    world = World(server, calls=5)
    assert world.start(0)
    world.send(0)
    world.lose(0)
    world.advance(LEASE_NS + WINDOW + MS)
    world.talk(1)
    world.arrive(0)
    world.talk(1)
    assert world.leases[1].usage(world.now_ns) == 0


def test_what_is_not_needed_is_given_back_at_once(server: Any) -> None:
    world = World(server, calls=8)
    assert not world.use(0)  # asks for two
    world.talk(0)
    assert world.use(0)
    world.advance(50 * MS)
    world.talk(0)
    assert [world.start(1) for _ in range(8)] == [True] * 7 + [False]


def test_a_member_that_died_costs_what_it_held_until_its_lease_and_a_window_have_ended(server: Any) -> None:
    world = World(server, calls=2)
    world.use(0)
    world.talk(0)  # holds both
    world.crash(0)
    world.advance(LEASE_NS - MS)
    assert not world.start(1)
    world.advance(WINDOW)
    assert not world.start(1)
    world.advance(MS)
    assert world.start(1)


def test_a_report_that_is_made_twice_counts_once(server: Any) -> None:
    world = World(server, calls=5)
    assert world.start(0)
    world.advance(MS)
    for _ in range(3):  # the answers are lost
        world.send(0)
        world.serve(0)
        world.lose(0)
    world.talk(1)
    assert world.leases[1].usage(world.now_ns) == 2 / 5  # one started, one on lease


def test_a_request_that_comes_late_changes_nothing(server: Any) -> None:
    world = World(server, calls=5)
    assert world.start(0)
    world.send(0)
    world.lose(0)
    assert world.start(0)
    world.talk(0)
    world.arrive(0)
    world.talk(1)
    assert world.leases[1].usage(world.now_ns) == 2 / 5


def test_a_clock_that_is_set_forward_lets_nobody_through_twice(server: Any) -> None:
    world = World(server, calls=4)
    assert [world.start(0) for _ in range(4)] == [True] * 4
    world.talk(0)
    world.set_back(-3600 * SECOND)
    world.advance(100 * MS)
    assert not world.start(0)
    world.advance(WINDOW)
    assert world.start(0)


def test_a_clock_that_is_set_back_stops_nobody(server: Any) -> None:
    world = World(server, calls=1)
    assert world.start(0)
    world.talk(0)
    world.set_back(3600 * SECOND)
    world.talk(0)
    world.advance(WINDOW)
    assert world.start(1)


def test_a_server_that_lost_its_memory_grants_nothing_for_a_window(server: Any) -> None:
    world = World(server, calls=2)
    assert world.start(0)
    assert world.start(0)
    world.talk(0)
    server.flushall()
    world.advance(MS)
    world.talk(0)
    assert world.leases[0].is_alone(world.now_ns)
    assert not world.start(1)
    world.advance(WINDOW)
    assert world.start(1)


def test_a_server_that_came_back_with_an_old_snapshot_is_found_out(server: Any) -> None:
    world = World(server, calls=2)
    assert world.start(0)
    snapshot = server.dump("limit")
    world.advance(MS)
    assert world.start(0)
    world.talk(0)
    server.restore("limit", 0, snapshot, replace=True)
    world.talk(0)
    assert world.leases[0].is_alone(world.now_ns)
    assert not world.start(1)


def test_a_memory_that_is_gone_because_nobody_came_is_no_loss(server: Any) -> None:
    world = World(server, calls=2)
    assert world.start(0)
    server.flushall()  # as its expiry does
    world.advance(WINDOW + LEASE_NS)
    assert world.start(0)


def test_members_that_are_seen_are_counted_for_the_fair_share(server: Any) -> None:
    world = World(server, calls=30)
    for m in range(MEMBERS):
        world.talk(m)
    arguments = LeaseRequest(30, WINDOW, "new", 1, 0, 0, 0, 30, [], "", 0, 0).arguments(0)
    reply = world.run(arguments)
    assert (reply.members, reply.granted) == (MEMBERS + 1, 30 // (MEMBERS + 1))


def test_the_key_goes_when_it_means_nothing_any_more(server: Any) -> None:
    world = World(server, calls=3)
    world.start(0)
    assert server.pttl("limit") == pytest.approx((WINDOW + LEASE_NS) / MS, abs=500)
