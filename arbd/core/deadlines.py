"""When a worker must be killed, and when to look again.

The supervisor learns nothing when a task starts: the worker writes number and time into its page. So nothing is
armed per task. One timer is enough, because of a bound: whatever has not begun at the moment of a look, sent already
or not, cannot reach its hard deadline before ``now + its timeout + grace``. Looking then is never too late, and an
idle daemon does not look at all.

    look(now) ──> a worker past its hard deadline: kill        otherwise look again at the earliest of
                  * the hard deadline of each task that runs; of a cancelled one: the grace after its cancel
                  * now + timeout + grace of each task that waits (a reload may have changed its action since)
                  * now + shortest timeout + grace, for what may be sent meanwhile

What a worker's page says is not trusted without a bound: a stray store of C code there must not make a task immortal. A
worker begins its tasks in their order, so the first of those it has must be done within timeout + grace of the moment
at which it was first seen as the first, and ``SLACK_NS`` for a machine that is busy. If not, it is killed whatever its
page says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from arbd.core.dispatch import Assignment
from arbd.ipc.cell import Running

SLACK_NS: Final = 2_000_000_000


class Busy(NamedTuple):
    """A worker that has tasks: the one it began last, and all of them."""

    slot: int
    running: Running
    outstanding: dict[int, Assignment]


class Look(NamedTuple):
    """Who is overdue, with the task that ran too long; and when to look next (``None``: not until a dispatch, because
    nobody is busy). ``unheard``: those whose page does not say so, and that have been silent beyond the bound."""

    overdue: list[tuple[int, Assignment]]
    next_at_ns: int | None
    unheard: tuple[tuple[int, Assignment], ...] = ()


class Deadlines:
    """The hard deadlines of all tasks. ``grace_s``: from a soft deadline, or a cancel, to the kill, in seconds."""

    def __init__(self, grace_s: float) -> None:
        self._grace_ns = round(grace_s * 1e9)
        self._shortest_ns = 0
        self._firsts: dict[int, tuple[int, int]] = {}  # by slot: the first task it has, and when it was first seen so

    def set_grace(self, grace_s: float) -> None:
        """Set the grace, in seconds, also for tasks that run."""
        self._grace_ns = round(grace_s * 1e9)

    def set_shortest(self, timeout_s: float) -> None:
        """Set the shortest timeout that any action has now, in seconds."""
        self._shortest_ns = round(timeout_s * 1e9)

    def first_look_at(self, now_ns: int) -> int:
        """When to look, at the latest, if anything may be sent from now on."""
        return now_ns + self._shortest_ns + self._grace_ns

    def latest_look_at(self, now_ns: int, timeout_s: float) -> int:
        """When to look, at the latest, if a task with this timeout may begin from now on."""
        return now_ns + round(timeout_s * 1e9) + self._grace_ns

    def hard_deadline(self, assignment: Assignment, since_ns: int) -> int:
        """The moment after which a task that began at ``since_ns`` is killed: its timeout and the grace later, or the
        grace after it was cancelled."""
        deadline = since_ns + round(assignment.timeout * 1e9) + self._grace_ns
        if assignment.cancelled:
            return min(deadline, max(since_ns, assignment.cancelled_at_ns) + self._grace_ns)
        return deadline

    def look(self, now_ns: int, busy: Iterable[Busy]) -> Look:
        """Judge every busy worker. ``now_ns`` must be read before the workers' pages are."""
        overdue: list[tuple[int, Assignment]] = []
        unheard: list[tuple[int, Assignment]] = []
        firsts: dict[int, tuple[int, int]] = {}
        next_at: int | None = None
        for slot, running, outstanding in busy:
            next_at = self.first_look_at(now_ns) if next_at is None else next_at
            current = outstanding.get(running.seq)
            if current is not None and running.is_for(current.seq):
                hard = self.hard_deadline(current, running.since_ns)
                if now_ns >= hard:
                    overdue.append((slot, current))
                else:
                    next_at = min(next_at, hard)
            first = next(iter(outstanding.values()))
            seen = firsts[slot] = self._seen_first(slot, first.seq, now_ns)
            bound = self.hard_deadline(first, seen[1]) + SLACK_NS
            if now_ns < bound:
                next_at = min(next_at, bound)
            elif not (overdue and overdue[-1][0] == slot):
                unheard.append((slot, first))
            # One pass in C over what may be 256 tasks; the one that runs does no harm in it, its own moment is earlier.
            shortest = min([assignment.timeout for assignment in outstanding.values()])
            next_at = min(next_at, self.latest_look_at(now_ns, shortest))
        self._firsts = firsts
        return Look(overdue, next_at, tuple(unheard))

    def _seen_first(self, slot: int, seq: int, now_ns: int) -> tuple[int, int]:
        seen = self._firsts.get(slot)
        return seen if seen is not None and seen[0] == seq else (seq, now_ns)
