"""Leases of a limit that the daemons of one host share, and the state they share.

    Account ─ refill ──> LeasedLimit ── exchange(spent, returned, want) ──> Source      a few tokens at a time
            ─ settle ──>                <── granted, next_at, count ──────              and back what is not needed

What was leased and not reported as spent or returned counts for all daemons as if it could start at any moment: the
rule of ``arbd.rate_limit.algorithms.base`` once more, one level up. ``SharedWindow`` is the state of a limit that the
daemons of one host share; who keeps it, and under which lock, is ``arbd.supervisor.limits.host_file``.

A source that fails (``OSError``: a full disk, no descriptor left) is ordinary: nothing was done, so what was leased
stays leased and may be used, nothing more is granted, and it is asked again after a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from arbd.core.backoff import Retry
from arbd.errors import os_reason
from arbd.rate_limit.algorithms.base import BATCH_NS, Limit
from arbd.rate_limit.algorithms.window import SlidingWindow
from arbd.rate_limit.usage import UNREACHED

POLL_NS: Final = 10_000_000  # others report what they spent without telling us: look that often while it matters
#: An exchange is made at least that often while anything of this daemon counts at the source: it shows that it lives.
PRESENCE_NS: Final = 1_000_000_000
#: A daemon whose files were lost counts as living for so long, until it comes by itself: longer than ``PRESENCE_NS``,
#: and than it may be put off.
MOVING_NS: Final = 10_000_000_000
LEASE_NS: Final = 5_000_000  # at least so much of the limit's rate is leased at a time
_KNOWN: Final = 64  # lost states that are remembered: no daemon is further behind
_MERGE: Final = 512  # starts closer than this part of the window become one, dated at the later


class Lease(msgspec.Struct, frozen=True):
    """The result of an exchange with a source. ``granted`` starts; ``next_at_ns``: when more may be free; ``count``:
    starts in the window that ends now; ``members``: who draws on the limit."""

    granted: int
    next_at_ns: int
    count: int
    members: list[str]


class Source(Protocol):
    """The storage that a leased limit draws its starts from."""

    def exchange(self, now_ns: int, spent: list[tuple[int, int]], returned: int, want: int) -> Lease | None:
        """Report starts (date, number), return unused ones, and ask for ``want`` more. ``None``: nothing was done,
        because another daemon holds the lock. Raises ``OSError``: nothing was done either."""

    def close(self) -> None:
        """Release the lease; the source is not used afterwards."""


class LeasedLimit(Limit):
    """At most ``calls`` starts in any ``window_ns``, over all daemons that draw on ``source``."""

    def __init__(self, source: Source, calls: int, window_ns: int) -> None:
        self._source = source
        self._calls = calls
        self._window_ns = window_ns
        self._leased = 0
        self._spent: list[tuple[int, int]] = []
        self._last = Lease(0, 0, 0, [])
        self._last_at_ns = 0
        self._counts_until_ns = 0  # until then the last start of ours lies in the window
        self._put_off = Retry()
        self._batch = max(1, min(LEASE_NS * calls // window_ns, calls // 8))
        self.max_batch = max(1, min(BATCH_NS * calls // window_ns, calls // 4))

    def spend(self, at_ns: int, calls: int) -> None:
        self._leased -= calls
        self._counts_until_ns = max(self._counts_until_ns, at_ns + self._window_ns)
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
        silent_ns = now_ns - self._last_at_ns
        has_news = bool(self._spent or surplus > 0) and silent_ns >= POLL_NS
        if has_news or (self._counts(now_ns) and silent_ns >= PRESENCE_NS) or self.trouble is not None:
            self._exchange(now_ns, max(0, surplus), 0)

    def look_at(self, now_ns: int, busy: bool) -> int | None:
        if self.trouble is not None:
            return max(now_ns + 1, self._put_off.until_ns)
        if busy or self._spent or self._leased:
            return now_ns + POLL_NS
        return now_ns + PRESENCE_NS if self._counts(now_ns) else None

    def startable(self, now_ns: int, outstanding: int) -> int:
        if self._leased > outstanding or now_ns < self._last.next_at_ns:
            return max(self._leased, outstanding)
        return outstanding + self.max_batch  # not known before a worker asks, so let one

    def usage(self, now_ns: int, outstanding: int = 0) -> float:
        return self._last.count / self._calls  # what is on lease counts there already

    def cause(self, now_ns: int, outstanding: int) -> int:
        return UNREACHED if self.trouble is not None else 0

    def close(self) -> None:
        self._source.close()

    def _counts(self, now_ns: int) -> bool:
        """Whether anything of this daemon still counts at the source: a lease, or starts in the window."""
        return self._leased > 0 or now_ns < self._counts_until_ns

    def _exchange(self, now_ns: int, returned: int, want: int) -> None:
        if now_ns < self._put_off.until_ns:
            return
        try:
            lease = self._source.exchange(now_ns, self._spent, returned, want)
        except OSError as error:
            self.trouble = os_reason(error)
            self._refuse_until(self._put_off.failed(now_ns))
            return
        self.trouble = None
        self._put_off.worked()
        if lease is None:
            self._refuse_until(now_ns + POLL_NS)
            return
        self._last = lease
        self.members = tuple(self._last.members)
        self._last_at_ns = now_ns
        self._leased += self._last.granted - returned
        self._spent = []

    def _refuse_until(self, at_ns: int) -> None:
        """Note that nothing was exchanged: what was to be reported counts as leased until a later exchange."""
        self._last = Lease(0, at_ns, self._last.count, self._last.members)


class Member(msgspec.Struct):
    """A daemon that draws on a shared window. ``moved_ns``: when its file was missed, or when its entry was taken over
    from lost files; 0 since its own last exchange."""

    provider: str
    window_ns: int
    leased: int = 0
    moved_ns: int = 0


class SharedWindow(msgspec.Struct):
    """The state that the daemons of one host share for one limit. ``boot`` identifies the boot its times belong to.

    Where a state is lost, another takes over its content: ``moved_to`` names that one, ``knows`` those whose content is
    in here. An ``awaited`` state has content of one of those and was not taken over: until a daemon brings it, or its
    content no longer counts, nothing is granted.
    """

    boot: str
    members: dict[str, Member] = {}
    starts: list[tuple[int, int, int]] = []  # groups in order: date of the first, of the last, how many
    id: str = ""
    moved_to: str = ""
    knows: list[str] = []
    awaited: dict[str, int] = {}

    def drop(self, key: str, now_ns: int) -> None:
        """Remove a daemon that has died: what it had leased may have started until ``now_ns``."""
        member = self.members.pop(key)
        if member.leased:
            self._add([(now_ns, now_ns, member.leased)])

    def take_over(self, lost: SharedWindow, now_ns: int) -> None:
        """Add the content of a state that can no longer be found by its name; a second time changes nothing."""
        if lost.boot != self.boot or lost.id in self.knows:
            return
        if lost.moved_to:
            self._await({lost.moved_to: now_ns + max(self._longest_ns, MOVING_NS)})
            return
        for key, member in lost.members.items():
            known = self.members.get(key)
            if known is None:
                self.members[key] = msgspec.structs.replace(member, moved_ns=now_ns)
            elif known.moved_ns:  # otherwise it has been here itself, and knows best what it has
                known.leased = max(known.leased, member.leased)
        self._add(lost.starts)
        self.knows = [*self.knows, *lost.knows, lost.id][-_KNOWN:]
        self._await(lost.awaited)

    def _await(self, more: dict[str, int]) -> None:
        known = {self.id, *self.knows}
        self.awaited = {id: until_ns for id, until_ns in (more | self.awaited).items() if id not in known}

    def awaits(self, key: str, now_ns: int) -> bool:
        """Whether a daemon whose file is missing still has time to make it again."""
        member = self.members[key]
        member.moved_ns = member.moved_ns or now_ns
        return now_ns < member.moved_ns + MOVING_NS

    def exchange(
        self, key: str, calls: int, now_ns: int, spent: Iterable[tuple[int, int]], returned: int, want: int
    ) -> Lease:
        """One exchange of the daemon ``key``, which must be a member."""
        me = self.members[key]
        me.moved_ns = 0
        spent = list(spent)
        self._add((at_ns, at_ns, number) for at_ns, number in spent)
        me.leased = max(0, me.leased - returned - sum(number for _, number in spent))
        self.starts = [group for group in self.starts if group[1] > now_ns - self._longest_ns]
        self.awaited = {id: until_ns for id, until_ns in self.awaited.items() if now_ns < until_ns}
        window = SlidingWindow(calls, me.window_ns)
        for _, at_ns, number in self.starts:
            window.spend(at_ns, number)
        leased = sum(member.leased for member in self.members.values())
        granted = 0 if self.awaited else min(want, window.available(now_ns, leased))
        me.leased += granted
        names = sorted({member.provider for member in self.members.values()})
        next_at_ns = now_ns + PRESENCE_NS if self.awaited else window.next_at(now_ns, leased)
        return Lease(granted, next_at_ns, window.count(now_ns), names)

    @property
    def _longest_ns(self) -> int:
        return max((member.window_ns for member in self.members.values()), default=0)

    def _add(self, starts: Iterable[tuple[int, int, int]]) -> None:
        """Add starts, in order and few: a group is dated at its last start, later than they were, never earlier."""
        widest_ns = min((member.window_ns for member in self.members.values()), default=0) // _MERGE
        merged: list[tuple[int, int, int]] = []
        for group in sorted([*self.starts, *starts]):
            _, last, number = group
            if merged and last - merged[-1][0] <= widest_ns:
                before = merged[-1]
                merged[-1] = (before[0], max(before[1], last), before[2] + number)
            else:
                merged.append(group)
        self.starts = merged
