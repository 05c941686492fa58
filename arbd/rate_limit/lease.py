"""A limit whose tokens come from somewhere else, because others draw on it, too.

    Account ─ refill ──> LeasedLimit ── exchange(spent, returned, want) ──> Source      a few tokens at a time
            ─ settle ──>                <── granted, next_at, count ──────              and back what is not needed

What was leased and not reported as spent or returned counts for everybody as if it could start at any moment: the rule
of ``arbd.rate_limit.algorithms`` once more, one level up. ``SharedWindow`` is the state of a limit that the daemons of
one host share; who keeps it, and under which lock, is ``arbd.supervisor.shared``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from arbd.rate_limit.algorithms import BATCH_NS, Limit, SlidingWindow

POLL_NS: Final = 10_000_000  # others report what they spent without telling us: look that often while it matters
LEASE_NS: Final = 5_000_000  # at least so much of the limit's rate is leased at a time
_MERGE: Final = 512  # starts closer than this part of the window become one, dated at the later


class Lease(msgspec.Struct, frozen=True):
    """What an exchange gave. ``count``: starts in the window that ends now; ``members``: who draws on the limit."""

    granted: int
    next_at_ns: int
    count: int
    members: list[str]


class Source(Protocol):
    """Where tokens come from."""

    def exchange(self, now_ns: int, spent: list[tuple[int, int]], returned: int, want: int) -> Lease | None:
        """Report starts (date, how many), give tokens back, and ask for ``want`` more; ``None``: nothing was done,
        because it cannot be reached now."""

    def close(self) -> None:
        """No more will be drawn."""


class LeasedLimit(Limit):
    """At most ``calls`` starts in any ``window_ns``, over everybody who draws on ``source``."""

    def __init__(self, source: Source, calls: int, window_ns: int) -> None:
        self._source = source
        self._calls = calls
        self._leased = 0
        self._spent: list[tuple[int, int]] = []
        self._last = Lease(0, 0, 0, [])
        self._last_at_ns = 0
        self._batch = max(1, min(LEASE_NS * calls // window_ns, calls // 8))
        self.max_batch = max(1, min(BATCH_NS * calls // window_ns, calls // 4))

    def spend(self, at_ns: int, calls: int) -> None:
        self._leased -= calls
        self._spent.append((at_ns, calls))

    def available(self, now_ns: int, outstanding: int) -> int:
        return max(0, self._leased - outstanding)

    def next_at(self, now_ns: int, outstanding: int) -> int:
        return max(now_ns + 1, self._last.next_at_ns)

    def refill(self, now_ns: int, want: int) -> None:
        self._exchange(now_ns, 0, max(want, self._batch))

    def settle(self, now_ns: int, outstanding: int) -> None:
        # Not at once: an exchange costs more than a grant. The dates are kept, so reporting late costs no precision.
        surplus = self._leased - outstanding
        if (self._spent or surplus > 0) and now_ns - self._last_at_ns >= POLL_NS:
            self._exchange(now_ns, max(0, surplus), 0)

    def look_at(self, now_ns: int, busy: bool) -> int | None:
        return now_ns + POLL_NS if busy or self._spent or self._leased else None

    def usage(self, now_ns: int) -> float:
        return self._last.count / self._calls

    def close(self) -> None:
        self._source.close()

    def _exchange(self, now_ns: int, returned: int, want: int) -> None:
        lease = self._source.exchange(now_ns, self._spent, returned, want)
        if lease is None:  # what was to be reported is reported later: until then it counts as leased
            self._last = Lease(0, now_ns + POLL_NS, self._last.count, self._last.members)
            return
        self._last = lease
        self.members = tuple(self._last.members)
        self._last_at_ns = now_ns
        self._leased += self._last.granted - returned
        self._spent = []


class Member(msgspec.Struct):
    """One daemon that draws on a shared window."""

    provider: str
    window_ns: int
    leased: int = 0


class SharedWindow(msgspec.Struct):
    """What the daemons that share a limit have to know of each other. ``boot``: the boot of the machine that the
    monotonic times belong to."""

    boot: str
    members: dict[str, Member] = {}
    starts: list[tuple[int, int, int]] = []  # groups in order: date of the first, of the last, how many

    def drop(self, key: str, now_ns: int) -> None:
        """A daemon has died: what it had leased may have started until this moment."""
        member = self.members.pop(key)
        if member.leased:
            self._add([(now_ns, member.leased)])

    def exchange(
        self, key: str, calls: int, now_ns: int, spent: Iterable[tuple[int, int]], returned: int, want: int
    ) -> Lease:
        """One daemon's exchange; it must be a member."""
        me = self.members[key]
        spent = list(spent)
        self._add(spent)
        me.leased -= returned + sum(number for _, number in spent)
        longest_ns = max(member.window_ns for member in self.members.values())
        self.starts = [group for group in self.starts if group[1] > now_ns - longest_ns]
        window = SlidingWindow(calls, me.window_ns)
        for _, at_ns, number in self.starts:
            window.spend(at_ns, number)
        leased = sum(member.leased for member in self.members.values())
        granted = min(want, window.available(now_ns, leased))
        me.leased += granted
        names = sorted({member.provider for member in self.members.values()})
        return Lease(granted, window.next_at(now_ns, leased), window.count(now_ns), names)

    def _add(self, spent: Iterable[tuple[int, int]]) -> None:
        """Keep the starts in order and few. A group is dated at its last start: later than they were, never earlier."""
        widest_ns = min((member.window_ns for member in self.members.values()), default=0) // _MERGE
        merged: list[tuple[int, int, int]] = []
        for group in sorted([*self.starts, *((at_ns, at_ns, number) for at_ns, number in spent)]):
            _, last, number = group
            if merged and last - merged[-1][0] <= widest_ns:
                before = merged[-1]
                merged[-1] = (before[0], max(before[1], last), before[2] + number)
            else:
                merged.append(group)
        self.starts = merged
