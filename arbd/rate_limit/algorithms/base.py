"""The interface of a limit's algorithm: how many calls may start now, and when the next one may.

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

from collections.abc import Sequence
from typing import Final

SECOND_NS: Final = 1_000_000_000
#: What ``available`` says where nothing limits.
UNBOUNDED: Final = 1 << 40
#: What ``next_at`` says where nothing can ever start.
NEVER_NS: Final = 1 << 62
#: Grants that last longer than this at the limit's own rate would make starts known too late to use a window fully.
BATCH_NS: Final = 2_000_000


class Limit:
    """A constraint on when calls may start; the base class limits nothing."""

    #: The most calls worth granting at once to one worker.
    max_batch: int = UNBOUNDED
    #: How many calls it can have to give at one moment; 0: few, or not known.
    capacity: int = 0
    #: Whether ``usage`` has steps between none and all; a minimum spacing has not.
    graded: bool = True
    #: The providers that share it.
    members: tuple[str, ...] = ()
    #: Why its storage cannot be reached, in words; ``None``: it can.
    trouble: str | None = None
    #: Whether ``refill`` has asked a storage that answers later: requests wait for that.
    undecided: bool = False

    def spend(self, at_ns: int, calls: int) -> None:
        """Record that ``calls`` have started, not later than ``at_ns``."""

    def charge(self, at_ns: int, calls: int, wall_ns: int, cpu_ns: int) -> None:
        """Record that ``calls`` have ended, and the times they took together."""

    def blame(self, at_ns: int, calls: int) -> None:
        """Record that ``calls`` of those that ended have failed; called before their ``charge``."""

    def progress(self, running: int, elapsed_ns: int) -> None:
        """Record that ``running`` calls are under way and have run for ``elapsed_ns`` together."""

    def set_utc(self, now_ns: int, utc_ns: int) -> None:
        """Tell what the wall clock shows at ``now_ns``, for limits that depend on the time of day."""

    def available(self, now_ns: int, outstanding: int) -> int:
        """How many more calls may start at ``now_ns``, which may lie ahead if nothing is spent until then."""
        return UNBOUNDED

    def next_at(self, now_ns: int, outstanding: int) -> int:
        """When one more call may start if every outstanding call starts now and no other comes first."""
        return now_ns

    def startable(self, now_ns: int, outstanding: int) -> int:
        """How many calls could start at ``now_ns``, outstanding ones included, as far as is known."""
        return self.available(now_ns, outstanding) + outstanding

    def usable_until(self, now_ns: int, outstanding: int) -> int:
        """The moment before which outstanding calls must have started; later their grants are void."""
        return NEVER_NS

    def forget(self, now_ns: int) -> None:
        """Drop what no longer matters at ``now_ns`` or later."""

    def refill(self, now_ns: int, want: int) -> None:
        """Ask the shared storage for ``want`` more starts, if the limit has one."""

    def settle(self, now_ns: int, outstanding: int) -> None:
        """Report spent starts to the shared storage, and return those that no worker needs."""

    def look_at(self, now_ns: int, busy: bool) -> int | None:
        """When to settle again because others share the limit. ``busy``: starts are outstanding or asked for."""
        return None

    def close(self) -> None:
        """Release what the limit holds; it is not used afterwards."""

    def usage(self, now_ns: int, outstanding: int = 0) -> float:
        """The used part of the limit, outstanding calls included: 0 to 1, and above for a cost that overran."""
        return 0.0

    def cpu_usage(self, now_ns: int, outstanding: int) -> float | None:
        """The used part of the limit's CPU budget; ``None``: it has none."""
        return None

    def cause(self, now_ns: int, outstanding: int) -> int:
        """Why it refuses, if it does, as flags of ``arbd.rate_limit.usage``; 0: because it is used up."""
        return 0


class Closed(Limit):
    """A limit that lets nothing start."""

    def available(self, now_ns: int, outstanding: int) -> int:
        return 0

    def next_at(self, now_ns: int, outstanding: int) -> int:
        return NEVER_NS

    def usage(self, now_ns: int, outstanding: int = 0) -> float:
        return 1.0


class All(Limit):
    """The conjunction of several limits: a call may start when all of them allow it."""

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

    def usage(self, now_ns: int, outstanding: int = 0) -> float:
        # A spacing is used up by every single call: it says nothing beside a part with steps.
        graded = [part for part in self.parts if part.graded] or self.parts
        return max((part.usage(now_ns, outstanding) for part in graded), default=0.0)

    def cpu_usage(self, now_ns: int, outstanding: int) -> float | None:
        usages = [part.cpu_usage(now_ns, outstanding) for part in self.parts]
        return max((usage for usage in usages if usage is not None), default=None)

    def cause(self, now_ns: int, outstanding: int) -> int:
        cause = 0
        for part in self.parts:
            if part.available(now_ns, outstanding) <= 0:
                cause |= part.cause(now_ns, outstanding)
        return cause
