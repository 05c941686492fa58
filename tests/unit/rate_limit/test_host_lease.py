"""Daemons that share a window never exceed it together, whatever they do and whichever of them dies."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples

from arbd.rate_limit.storage.host_lease import POLL_NS, Lease, LeasedLimit, Member, SharedWindow

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


@settings(max_examples=examples(300))
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


@settings(max_examples=examples(200))
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


@pytest.mark.parametrize("number", [10, 1_200])
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


# -- a source that fails ---------------------------------------------------------------------------------------------


class Failing(Door):
    """A way to a host that may be closed: an exchange then raises, and has done nothing."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, "d0")
        self.error: Exception | None = None
        self.calls = 0

    def exchange(self, now_ns: int, spent: list[tuple[int, int]], returned: int, want: int) -> Lease:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return super().exchange(now_ns, spent, returned, want)


@pytest.fixture
def failing() -> Failing:
    return Failing(Host(4, SECOND))


@pytest.fixture
def limit(failing: Failing) -> LeasedLimit:
    return LeasedLimit(failing, 4, SECOND)


def test_what_was_leased_can_be_used_while_the_source_fails_and_nothing_more(
    failing: Failing, limit: LeasedLimit
) -> None:
    limit.refill(SECOND, 2)
    failing.error = OSError(28, "No space left on device")
    limit.spend(SECOND, 1)
    limit.settle(SECOND + POLL_NS, 0)
    limit.refill(SECOND + POLL_NS, 4)
    assert limit.trouble == "No space left on device"
    assert limit.available(SECOND + POLL_NS, 0) == 1
    assert limit.available(SECOND + POLL_NS, 1) == 0
    failing.error = None
    limit.settle(SECOND + 100 * MS, 0)
    assert limit.trouble is None
    assert failing.host.state.starts == [(SECOND, SECOND, 1)]


def test_a_source_that_fails_is_asked_again_after_a_while_that_grows(failing: Failing, limit: LeasedLimit) -> None:
    failing.error = OSError(24, "Too many open files", "/run/x")
    now_ns, pauses = SECOND, []
    for _ in range(10):
        limit.refill(now_ns, 1)
        assert limit.trouble == "/run/x: Too many open files"
        again_ns = limit.next_at(now_ns, 0)
        assert limit.look_at(now_ns, busy=True) == again_ns
        assert limit.look_at(now_ns, busy=False) == again_ns  # so that it is found out when it works
        calls = failing.calls
        limit.refill(again_ns - 1, 1)
        limit.settle(again_ns - 1, 0)
        assert failing.calls == calls
        pauses.append((again_ns - now_ns) // MS)
        now_ns = again_ns
    assert pauses == [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]
    failing.error = None
    limit.settle(now_ns, 0)
    assert limit.trouble is None
    limit.refill(now_ns, 9)
    assert limit.available(now_ns, 0) == 4
    failing.error = OSError(24, "Too many open files")
    limit.refill(now_ns + 1, 1)
    assert limit.next_at(now_ns + 1, 0) == now_ns + 1 + 50 * MS


def test_what_is_no_oserror_passes(failing: Failing, limit: LeasedLimit) -> None:
    failing.error = KeyError("bug")
    with pytest.raises(KeyError):
        limit.refill(SECOND, 1)
    assert limit.trouble is None


def test_a_hold_takes_what_may_be_granted_because_only_who_asks_finds_out(failing: Failing, limit: LeasedLimit) -> None:
    assert limit.startable(SECOND, 0) > 0
    limit.refill(SECOND, 4)
    limit.spend(SECOND, 4)
    limit.settle(SECOND + POLL_NS, 0)
    assert limit.startable(SECOND + POLL_NS, 0) == 0
    assert limit.startable(2 * SECOND, 0) > 0


# -- states that are taken over --------------------------------------------------------------------------------------


def test_a_state_is_taken_over_once() -> None:
    lost = SharedWindow("boot", {"a": Member("a", SECOND, leased=2)}, [(1, 1, 3)], id="lost")
    state = SharedWindow("boot", {"b": Member("b", SECOND)}, id="new")
    for _ in range(2):
        state.take_over(lost, 5)
        assert (state.starts, state.members["a"].leased) == ([(1, 1, 3)], 2)
    assert state.exchange("b", 10, 6, [], 0, 10).granted == 5


def test_who_has_been_there_itself_knows_best_what_it_has() -> None:
    state = SharedWindow("boot", {"a": Member("a", SECOND, leased=1)}, id="new")
    state.exchange("a", 10, 5, [], 1, 0)
    state.take_over(SharedWindow("boot", {"a": Member("a", SECOND, leased=4)}, id="lost"), 6)
    assert state.members["a"].leased == 0


def test_a_state_of_another_boot_is_not_taken_over() -> None:
    state = SharedWindow("boot", {"b": Member("b", SECOND)}, id="new")
    state.take_over(SharedWindow("before", {"a": Member("a", SECOND, leased=2)}, [(1, 1, 3)], id="lost"), 5)
    assert (list(state.members), state.starts) == (["b"], [])


def test_nothing_is_granted_until_what_is_known_elsewhere_is_brought_or_counts_no_more() -> None:
    def without() -> SharedWindow:
        state = SharedWindow("boot", {"b": Member("b", 20 * SECOND)}, id="third")
        state.take_over(SharedWindow("boot", id="first", moved_to="second"), 5)
        assert state.exchange("b", 10, 6, [], 0, 10).granted == 0
        return state

    state = without()
    state.take_over(SharedWindow("boot", {"a": Member("a", SECOND, leased=4)}, id="second", knows=["first"]), 7)
    assert state.exchange("b", 10, 8, [], 0, 10).granted == 6
    state = without()
    assert state.exchange("b", 10, 5 + 20 * SECOND - 1, [], 0, 10).granted == 0
    assert state.exchange("b", 10, 5 + 20 * SECOND, [], 0, 10).granted == 10
