"""Daemons that share a window never exceed it together, whatever they do and whichever of them dies."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.rate_limit.lease import POLL_NS, Lease, LeasedLimit, Member, SharedWindow

MS: Final = 1_000_000
SECOND: Final = 1_000_000_000


class Host:
    """A host whose state is kept in memory."""

    def __init__(self, calls: int, window_ns: int) -> None:
        self.calls = calls
        self.window_ns = window_ns
        self.state = SharedWindow("boot")
        self.made = 0

    def daemon(self) -> LeasedLimit:
        self.made += 1
        return LeasedLimit(Door(self, f"d{self.made}"), self.calls, self.window_ns)


class Door:
    """One daemon's way to it."""

    def __init__(self, host: Host, key: str) -> None:
        self.host = host
        self.key = key
        host.state.members[key] = Member(f"provider-{key}", host.window_ns)

    def exchange(self, now_ns: int, spent: list[tuple[int, int]], returned: int, want: int) -> Lease:
        return self.host.state.exchange(self.key, self.host.calls, now_ns, spent, returned, want)

    def close(self) -> None:
        """Not looked at here."""


class Daemon:
    """An account in small: what it holds, what its workers hold, and what it has seen of that."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.limit = host.daemon()
        self.outstanding = 0
        self.unseen: list[int] = []

    def start(self, now_ns: int, calls: int) -> list[int]:
        """Workers start as many calls as they can; nobody has seen them yet."""
        held = self.outstanding - len(self.unseen)
        if held < calls:
            self.limit.refill(now_ns, calls - held)
            more = min(calls - held, self.limit.available(now_ns, self.outstanding))
            self.outstanding += more
            held += more
        begun = [now_ns] * min(held, calls)
        self.unseen += begun
        return begun

    def look(self, now_ns: int) -> None:
        for at_ns in self.unseen:
            self.limit.spend(at_ns, 1)
        self.outstanding -= len(self.unseen)
        self.unseen = []
        self.limit.settle(now_ns, self.outstanding)

    def give_back(self, now_ns: int) -> None:
        self.look(now_ns)
        self.outstanding = 0
        self.limit.settle(now_ns, 0)

    def die(self, now_ns: int) -> None:
        door: Any = self.limit._source
        self.host.state.drop(door.key, now_ns)
        self.__init__(self.host)  # type: ignore[misc] # another one in its place


acts = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "look", "give_back", "die", "step"]), st.integers(0, 2), st.integers(1, 9)
    ),
    max_size=80,
)


@settings(deadline=None, max_examples=300)
@given(script=acts, calls=st.integers(1, 20), window_ms=st.integers(1, 400))
def test_no_window_sees_more_than_is_allowed(script: list[tuple[str, int, int]], calls: int, window_ms: int) -> None:
    host = Host(calls, window_ms * MS)
    daemons = [Daemon(host) for _ in range(3)]
    now_ns, starts = 1, list[int]()
    for act, which, amount in script:
        if act == "start":
            starts += daemons[which].start(now_ns, amount)
        elif act == "step":
            now_ns += amount * 20 * MS
        else:
            getattr(daemons[which], act)(now_ns)
    assert [b - a for a, b in zip(starts, starts[calls:], strict=False) if b - a < host.window_ns] == []


@settings(deadline=None, max_examples=200)
@given(script=acts, calls=st.integers(1, 20))
def test_nothing_is_lost(script: list[tuple[str, int, int]], calls: int) -> None:
    host = Host(calls, 50 * MS)
    daemons = [Daemon(host) for _ in range(3)]
    now_ns = 1
    for act, which, amount in script:
        if act == "start":
            daemons[which].start(now_ns, amount)
        elif act == "step":
            now_ns += amount * 20 * MS
        else:
            getattr(daemons[which], act)(now_ns)
    now_ns += POLL_NS
    for daemon in daemons:
        daemon.give_back(now_ns)
    now_ns += POLL_NS
    for daemon in daemons:
        daemon.give_back(now_ns)
    assert {member.leased for member in host.state.members.values()} == {0}
    now_ns += 50 * MS
    assert len(daemons[0].start(now_ns, 100)) == calls


def test_who_is_refused_learns_when_to_come_again_and_who_else_is_there() -> None:
    host = Host(2, SECOND)
    one, other = Daemon(host), Daemon(host)
    one.start(100, 2)
    one.look(POLL_NS + 100)
    assert other.start(POLL_NS + 500, 1) == []
    assert other.limit.next_at(POLL_NS + 500, 0) == SECOND + 100
    assert other.limit.members == ("provider-d1", "provider-d2")
    assert other.limit.usage(POLL_NS + 500) == 1.0


def test_what_a_dead_daemon_had_may_have_started_until_it_was_missed() -> None:
    host = Host(2, SECOND)
    one, other = Daemon(host), Daemon(host)
    one.start(100, 2)
    one.die(700)
    assert other.start(SECOND + 699, 1) == []
    assert len(other.start(SECOND + 700, 5)) == 2


def test_two_daemons_with_windows_of_different_length_each_keep_their_own() -> None:
    state = SharedWindow("boot", {"short": Member("a", SECOND), "long": Member("b", 10 * SECOND)})
    state.exchange("short", 2, 0, [], 0, 2)
    state.exchange("short", 2, 0, [(0, 2)], 0, 0)
    assert state.exchange("short", 2, SECOND, [], 0, 2).granted == 2
    assert state.exchange("long", 3, SECOND, [], 0, 3).granted == 0


@pytest.mark.parametrize("number", [10, 5_000])
def test_the_state_stays_small(number: int) -> None:
    state = SharedWindow("boot", {"a": Member("a", SECOND, leased=number)})
    for at_ns in range(0, SECOND, SECOND // number):
        state.exchange("a", number, at_ns, [(at_ns, 1)], 0, 0)
    assert len(state.starts) <= min(number, 1025)
    assert max(last - first for first, last, _ in state.starts) <= SECOND // 512


def test_starts_that_are_taken_together_are_dated_at_the_last_of_them() -> None:
    state = SharedWindow("boot", {"a": Member("a", SECOND, leased=2)})
    state.exchange("a", 2, 10 * MS, [(10 * MS, 1)], 0, 0)
    state.exchange("a", 2, 11 * MS, [(11 * MS, 1)], 0, 0)
    assert state.starts == [(10 * MS, 11 * MS, 2)]
    assert state.exchange("a", 2, SECOND + 11 * MS - 1, [], 0, 1).granted == 0
    assert state.exchange("a", 2, SECOND + 11 * MS, [], 0, 1).granted == 1
