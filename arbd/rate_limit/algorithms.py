"""The algorithms of the limits: how many calls may start now, and when the next one may.

Pure: time is an argument, in nanoseconds of one monotonic clock; numbers are integers, so nothing drifts. They know
nothing of workers. What makes them usable across processes is one rule about *outstanding* calls: calls that were
granted and of which it is not known yet whether they have started. All of them may start at one instant, so

    available(now, outstanding)      counts them as started: level - outstanding, or window - outstanding
    spend(at, n)                     n of them have started, not later than ``at``; the owner lowers ``outstanding``

A start may be dated later than it was, never earlier: that is the safe direction for every algorithm here.

Why no interval (a, b] ever sees more than ``burst + rate * (b - a)`` starts, although starts are learnt late: take the
last grant G <= b. Starts in the interval are either known at G, and dated inside (a, G], or outstanding at G. The
bucket at G holds at most ``burst + rate * (G - a)`` minus the first kind, and no less than the second kind, or the
grant would not have been given. (Crediting the refill of a tick *after* subtracting the starts seen at that tick
breaks this: an interval of no length could then see more than ``burst``.) The window has the same proof.

Sources: the token bucket as in RFC 2697's "committed" bucket; the exact sliding window is a log of starts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

SECOND_NS: Final = 1_000_000_000
#: What ``available`` says where nothing limits.
UNBOUNDED: Final = 1 << 40
#: What ``next_at`` says where nothing can ever start.
NEVER_NS: Final = 1 << 62
#: Grants that last longer than this at the limit's own rate would make starts known too late to use a window fully.
BATCH_NS: Final = 2_000_000
_WINDOW_GROUPS: Final = 4096  # a window of more starts than this keeps them in groups, each dated at its last start
_LEARN: Final = 8  # an expected cost falls by 1/8 of the difference per call


class Limit:
    """One constraint on when calls may start. A subclass overrides what concerns it."""

    #: The most calls worth granting at once to one worker.
    max_batch: int = UNBOUNDED
    #: How many calls it can have to give at one moment; 0: few, or not known.
    capacity: int = 0
    #: Whether ``usage`` has steps between none and all; a minimum spacing has not.
    graded: bool = True
    #: Who draws on it, where others do, too.
    members: tuple[str, ...] = ()
    #: What keeps it from where its starts come from, in words; ``None``: nothing.
    trouble: str | None = None
    #: Whether ``refill`` has asked somebody who answers later: whoever wants a start then waits for that.
    undecided: bool = False

    def spend(self, at_ns: int, calls: int) -> None:
        """``calls`` have started, not later than ``at_ns``."""

    def charge(self, at_ns: int, calls: int, wall_ns: int, cpu_ns: int) -> None:
        """``calls`` have ended; this is what they took together."""

    def blame(self, at_ns: int, calls: int) -> None:
        """``calls`` of those that ended have failed. Told before ``charge``."""

    def progress(self, running: int, elapsed_ns: int) -> None:
        """``running`` calls have started and not ended; they have run for ``elapsed_ns`` together."""

    def set_utc(self, now_ns: int, utc_ns: int) -> None:
        """What the clock on the wall shows at ``now_ns``, for limits that depend on the time of day."""

    def available(self, now_ns: int, outstanding: int) -> int:
        """How many more may start at ``now_ns``. Also for a moment to come, if nothing is spent until then."""
        return UNBOUNDED

    def next_at(self, now_ns: int, outstanding: int) -> int:
        """When one more may start if every outstanding call starts now and nobody else comes first."""
        return now_ns

    def startable(self, now_ns: int, outstanding: int) -> int:
        """How many calls could start at ``now_ns`` with those that are outstanding, as far as is known."""
        return self.available(now_ns, outstanding) + outstanding

    def usable_until(self, now_ns: int, outstanding: int) -> int:
        """Before when what is outstanding must have started; later it is void."""
        return NEVER_NS

    def forget(self, now_ns: int) -> None:
        """Drop what no longer matters at ``now_ns`` or later."""

    def refill(self, now_ns: int, want: int) -> None:
        """Get more from where this limit's starts come from, if they come from somewhere else."""

    def settle(self, now_ns: int, outstanding: int) -> None:
        """Report there what was spent, and give back what nobody here needs."""

    def look_at(self, now_ns: int, busy: bool) -> int | None:
        """When to settle again, because others draw on it, too. ``busy``: starts are outstanding or waited for."""
        return None

    def close(self) -> None:
        """Nothing more will be asked."""

    def usage(self, now_ns: int) -> float:
        """What part of the limit is used: 0 to 1, and above for a cost that overran."""
        return 0.0


class Closed(Limit):
    """Nothing may start."""

    def available(self, now_ns: int, outstanding: int) -> int:
        return 0

    def next_at(self, now_ns: int, outstanding: int) -> int:
        return NEVER_NS

    def usage(self, now_ns: int) -> float:
        return 1.0


class TokenBucket(Limit):
    """At most ``burst + rate * t`` starts in any interval of length t. The rate is ``calls`` per ``period_ns``."""

    def __init__(self, calls: int, period_ns: int, burst: int) -> None:
        self._calls = calls
        self._unit = period_ns  # one call; the level grows by `calls` of these units' parts per nanosecond
        self._cap = burst * period_ns
        self._level = self._cap
        self._at_ns = 0
        self.max_batch = max(1, min(BATCH_NS * calls // period_ns, burst // 4))
        self.capacity = burst

    def _level_at(self, now_ns: int) -> int:
        if now_ns <= self._at_ns:
            return self._level
        return min(self._cap, self._level + (now_ns - self._at_ns) * self._calls)

    def spend(self, at_ns: int, calls: int) -> None:
        self._level = self._level_at(at_ns) - calls * self._unit
        self._at_ns = max(self._at_ns, at_ns)

    def available(self, now_ns: int, outstanding: int) -> int:
        return max(0, self._level_at(now_ns) // self._unit - outstanding)

    def next_at(self, now_ns: int, outstanding: int) -> int:
        missing = (outstanding + 1) * self._unit - self._level_at(now_ns)
        return max(now_ns, self._at_ns) + max(0, -(-missing // self._calls))

    def usage(self, now_ns: int) -> float:
        return 1 - self._level_at(now_ns) / self._cap


class SlidingWindow(Limit):
    """At most ``calls`` starts in any interval of length ``window_ns``. With one call it is a minimum spacing."""

    def __init__(self, calls: int, window_ns: int) -> None:
        self._max = calls
        self._window_ns = window_ns
        self._group_ns = window_ns // _WINDOW_GROUPS if calls > _WINDOW_GROUPS else 0
        self._groups: deque[list[int]] = deque()  # [date of the first, date of the last, how many]
        self._total = 0
        self.graded = calls > 1
        self.max_batch = max(1, min(BATCH_NS * calls // window_ns, calls // 4))
        self.capacity = calls

    def spend(self, at_ns: int, calls: int) -> None:
        groups = self._groups
        self._total += calls
        if groups:
            last = groups[-1]
            at_ns = max(at_ns, last[1])
            if at_ns - last[0] <= self._group_ns:
                last[1] = at_ns
                last[2] += calls
                return
        groups.append([at_ns, at_ns, calls])

    def count(self, now_ns: int) -> int:
        """Starts inside the window that ends now."""
        since_ns = now_ns - self._window_ns
        left = self._total
        for _, last, calls in self._groups:
            if last > since_ns:
                break
            left -= calls
        return left

    def available(self, now_ns: int, outstanding: int) -> int:
        return max(0, self._max - outstanding - self.count(now_ns))

    def next_at(self, now_ns: int, outstanding: int) -> int:
        too_many = self._total + outstanding + 1 - self._max
        if too_many <= 0:
            return now_ns
        for _, last, calls in self._groups:
            too_many -= calls
            if too_many <= 0:
                return max(now_ns, last + self._window_ns)
        return now_ns + self._window_ns

    def forget(self, now_ns: int) -> None:
        groups, since_ns = self._groups, now_ns - self._window_ns
        while groups and groups[0][1] <= since_ns:
            self._total -= groups.popleft()[2]

    def usage(self, now_ns: int) -> float:
        return self.count(now_ns) / self._max


class CostBudget(Limit):
    """A budget of run time or CPU time: ``budget_ns`` of it per ``period_ns``, at most ``budget_ns`` saved up.

    What a call costs is known when it has ended, so the budget may go into debt; the debt is paid back before the next
    call starts, and the mean never exceeds the budget. Calls under way count with what they have used or with what
    they are expected to cost, whichever is more: ten long calls started at once do not slip past. The expectation
    goes up at once and down slowly; while there is none, calls start one at a time.
    """

    def __init__(self, budget_ns: int, period_ns: int, *, cpu: bool) -> None:
        self._budget_ns = budget_ns
        self._period_ns = period_ns
        self._cpu = cpu
        self._level = budget_ns * period_ns  # in nanoseconds of cost, times the period
        self._at_ns = 0
        self._expected_ns = 0  # 0: no call has ended yet
        self._cpu_share = 1.0  # of run time, while a call is under way
        self._running = 0
        self._elapsed_ns = 0
        self.max_batch = 1

    def _level_at(self, now_ns: int) -> int:
        grown = self._level + max(0, now_ns - self._at_ns) * self._budget_ns
        return min(self._budget_ns * self._period_ns, grown)

    def spend(self, at_ns: int, calls: int) -> None:
        self._running += calls

    def charge(self, at_ns: int, calls: int, wall_ns: int, cpu_ns: int) -> None:
        cost_ns = cpu_ns if self._cpu else wall_ns
        self._level = self._level_at(at_ns) - cost_ns * self._period_ns
        self._at_ns = max(self._at_ns, at_ns)
        mean_ns = max(1, cost_ns // calls)
        if mean_ns >= self._expected_ns:
            self._expected_ns = mean_ns
        else:
            self._expected_ns -= (self._expected_ns - mean_ns) // _LEARN
        if self._cpu and wall_ns:
            self._cpu_share = min(1.0, cpu_ns / wall_ns)
        self._running = max(0, self._running - calls)

    def progress(self, running: int, elapsed_ns: int) -> None:
        self._running = running
        self._elapsed_ns = elapsed_ns

    def _need(self, outstanding: int) -> tuple[int, int]:
        """What is spoken for, and what one more call needs; both in nanoseconds of cost."""
        one = min(self._expected_ns, self._budget_ns)
        used = round(self._elapsed_ns * self._cpu_share) if self._cpu else self._elapsed_ns
        return max(used, self._running * one) + outstanding * one, max(1, one)

    def available(self, now_ns: int, outstanding: int) -> int:
        under_way = self._running + outstanding
        spoken_for, one = self._need(outstanding)
        left = self._level_at(now_ns) // self._period_ns - spoken_for
        if not self._expected_ns:
            return 1 if left > 0 and not under_way else 0
        return max(0, left // one)

    def next_at(self, now_ns: int, outstanding: int) -> int:
        spoken_for, one = self._need(outstanding)
        missing = (spoken_for + one) * self._period_ns - self._level_at(now_ns)
        at_ns = max(now_ns, self._at_ns) + max(0, -(-missing // self._budget_ns))
        # Nobody can know when the first call ever will end; asking again after one period is a fair guess.
        return at_ns if self._expected_ns or not (self._running + outstanding) else now_ns + self._period_ns

    def usage(self, now_ns: int) -> float:
        spoken_for, _ = self._need(0)
        return 1 - (self._level_at(now_ns) / self._period_ns - spoken_for) / self._budget_ns


class All(Limit):
    """Several limits that must all agree."""

    def __init__(self, parts: Sequence[Limit]) -> None:
        self.parts = tuple(parts)
        self.max_batch = min((part.max_batch for part in self.parts), default=UNBOUNDED)
        self.capacity = min((part.capacity for part in self.parts), default=0)
        self.graded = any(part.graded for part in self.parts)

    def spend(self, at_ns: int, calls: int) -> None:
        for part in self.parts:
            part.spend(at_ns, calls)

    def charge(self, at_ns: int, calls: int, wall_ns: int, cpu_ns: int) -> None:
        for part in self.parts:
            part.charge(at_ns, calls, wall_ns, cpu_ns)

    def blame(self, at_ns: int, calls: int) -> None:
        for part in self.parts:
            part.blame(at_ns, calls)

    def progress(self, running: int, elapsed_ns: int) -> None:
        for part in self.parts:
            part.progress(running, elapsed_ns)

    def set_utc(self, now_ns: int, utc_ns: int) -> None:
        for part in self.parts:
            part.set_utc(now_ns, utc_ns)

    def available(self, now_ns: int, outstanding: int) -> int:
        return min((part.available(now_ns, outstanding) for part in self.parts), default=UNBOUNDED)

    def next_at(self, now_ns: int, outstanding: int) -> int:
        # Waiting only ever frees a part, so when the last of them is free, all are.
        return max((part.next_at(now_ns, outstanding) for part in self.parts), default=now_ns)

    def forget(self, now_ns: int) -> None:
        for part in self.parts:
            part.forget(now_ns)

    def usage(self, now_ns: int) -> float:
        # A spacing is used up by every single call: it says nothing beside a part with steps.
        graded = [part for part in self.parts if part.graded] or self.parts
        return max((part.usage(now_ns) for part in graded), default=0.0)
