"""The supervisor's side of a seat: reads what the worker has spent and asks for, and stores what it is granted."""

from __future__ import annotations

from typing import NamedTuple

from arbd.ipc import layout
from arbd.rate_limit.algorithms.base import NEVER_NS
from arbd.rate_limit.grants.seat import GrantRequest, write_figures, write_members
from arbd.rate_limit.usage import UNREACHED, Figures


class SeatDelta(NamedTuple):
    """The growth of a seat's counters since they were read last."""

    spent: int
    last_start_ns: int
    returned: int
    ended: int
    failed: int
    wall_ns: int
    cpu_ns: int


class SupervisorSeat:
    """The supervisor's side of one seat. Values written by the worker are not trusted; they are clamped to the possible
    range."""

    __slots__ = (
        *("_cpu_ns", "_ended", "_failed", "_granted", "_keep", "_members", "_never_measured", "_returned", "_spent"),
        *("_wall_ns", "_words", "answered", "last_start_ns", "next_at_ns", "not_before_ns"),
    )

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._granted = self._spent = self._returned = 0
        self._ended = self._failed = self._wall_ns = self._cpu_ns = 0
        self._members: tuple[str, ...] = ()
        self._never_measured = 0
        self._keep = 0
        self.answered = 0
        self.next_at_ns = 0
        self.not_before_ns = 0
        self.last_start_ns = 0
        self.use_until(NEVER_NS)

    @property
    def outstanding(self) -> int:
        """Starts that were granted and are not known to be spent or returned."""
        return self._granted - self._spent - self._returned

    @property
    def holding(self) -> tuple[int, int]:
        """Starts ever granted, and how many of them were spent."""
        return self._granted, self._spent

    @property
    def refused(self) -> int:
        """Calls that the worker has turned away."""
        return int(self._words[layout.REFUSED])

    @property
    def running(self) -> int:
        """Calls that have started and not ended; valid only for a limit whose calls are measured."""
        return max(0, self._spent - self._ended - self._never_measured)

    def begin_measuring(self) -> None:
        """Count as running only calls that start from now on: earlier ones may not have been measured."""
        self._never_measured = self._spent - self._ended

    def observe(self) -> SeatDelta | None:
        """Read the worker's counters; ``None`` if they have not grown."""
        words = self._words
        # SPENT before LAST_START_NS: the third invariant of `seat.py`.
        spent, returned, ended = words[layout.SPENT], words[layout.RETURNED], words[layout.ENDED]
        if spent == self._spent and returned == self._returned and ended == self._ended:
            return None
        new_spent = min(max(0, spent - self._spent), self.outstanding)
        new_returned = min(max(0, returned - self._returned), self.outstanding - new_spent)
        self._spent += new_spent
        self._returned += new_returned
        self.last_start_ns = words[layout.LAST_START_NS]
        new_ended = min(max(0, ended - self._ended), self.running)
        self._ended += new_ended
        wall_ns, cpu_ns = words[layout.WALL_NS], words[layout.SEAT_CPU_NS]
        new_wall_ns, new_cpu_ns = max(0, wall_ns - self._wall_ns), max(0, cpu_ns - self._cpu_ns)
        self._wall_ns, self._cpu_ns = wall_ns, cpu_ns
        failed = words[layout.FAILED]
        new_failed = min(max(0, failed - self._failed), new_ended)
        self._failed = failed
        return SeatDelta(new_spent, self.last_start_ns, new_returned, new_ended, new_failed, new_wall_ns, new_cpu_ns)

    @property
    def has_abandoned_grant(self) -> bool:
        """Whether starts were granted for a request that the worker no longer waits for: it may be asleep by now. Load
        it only after the worker was rung: the grant must be stored before."""
        return self.outstanding > 0 and self._words[layout.NEED] == 0

    def request(self) -> GrantRequest | None:
        """The open request; ``None`` if there is none, or it was withdrawn."""
        words = self._words
        number = words[layout.ASKED]
        if number == self.answered:
            return None
        need = words[layout.NEED]
        if need == 0:
            self.answered = number
            return None
        return GrantRequest(number, need, words[layout.UNTIL_NS])

    def grant(self, calls: int, not_before_ns: int = 0) -> None:
        """Allow more starts. ``not_before_ns`` only if the worker has none left: it holds for all that it has."""
        words = self._words
        if not_before_ns != self.not_before_ns:
            self.not_before_ns = words[layout.NOT_BEFORE_NS] = not_before_ns
        self._granted += calls
        self.refuse_until(0)
        words[layout.GRANTED] = self._granted

    def refuse_until(self, next_at_ns: int) -> None:
        """Tell the worker not to ask before this moment; 0: it may ask."""
        if next_at_ns != self.next_at_ns:
            self.next_at_ns = self._words[layout.NEXT_AT_NS] = next_at_ns

    def use_until(self, not_after_ns: int) -> None:
        """Make every grant, present or future, void from this moment on."""
        self._words[layout.NOT_AFTER_NS] = not_after_ns

    def may_keep(self, calls: int) -> None:
        """Let the worker keep this many unspent grants when it is idle."""
        if calls != self._keep:
            self._keep = self._words[layout.KEEP] = calls

    def publish(self, figures: Figures) -> None:
        """Store the figures that the worker's responses report."""
        write_figures(self._words, figures)
        if figures.members != self._members:
            self._members = figures.members
            write_members(self._words, figures.members)

    def publish_unreached(self) -> None:
        """Say that the limit could not be asked: the figures are those of the last time."""
        self._words[layout.CAUSE] = UNREACHED

    def answer(self, request: GrantRequest) -> None:
        """Mark the request as answered; the worker may be rung."""
        self.answered = self._words[layout.ANSWERED] = request.number
