"""The worker's side of a seat: a gate whose grants come from the supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from arbd.interrupts import take_turn, uninterruptible
from arbd.ipc import layout
from arbd.rate_limit.grants.seat import read_figures
from arbd.rate_limit.usage import UNREACHED, Figures

if TYPE_CHECKING:
    from threading import Lock

ANSWER_TIMEOUT_NS: Final = 100_000_000  # a supervisor answers in 0.1 ms, in some ms when it is busy
SILENT_RETRY_NS: Final = 1_000_000_000  # what a caller is told to wait when the supervisor did not answer
#: Of a limit whose calls are measured a refusal is repeated without asking for so long; then the supervisor is asked
#: for the figures and the wait of the moment, because calls of other workers have ended since. Of other limits nothing
#: changes until the moment that was told: no call can start before it.
FRESH_NS: Final = 20_000_000
_EAGER_NS: Final = 10_000_000  # out of grants again this soon: ask for twice as many
_MOST_NEEDED: Final = 1 << 16


class SeatRuntime(Protocol):
    """The clocks, locks, waits and bell of a worker process, for its seats. Both waits are interruptible."""

    def clock(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""

    def cpu_clock(self) -> int:
        """The CPU time of this thread in nanoseconds."""

    def new_lock(self) -> Lock:
        """A lock between the threads of this process."""

    def ring(self) -> None:
        """Wake the supervisor's limits."""

    def wait_rung(self, timeout_ns: int) -> None:
        """Wait to be rung by the supervisor, at most ``timeout_ns``; returning too early does no harm."""

    def sleep(self, ns: int) -> None:
        """Sleep for ``ns`` nanoseconds."""


class WorkerSeat:
    """The worker's side of one seat; threads may share it. ``is_metered``: the limit's calls are measured."""

    __slots__ = (
        "_ask_lock",
        "_clock",
        "_last_ask_ns",
        "_lock",
        "_need",
        "_returned",
        "_runtime",
        "_told_ns",
        "_words",
        "is_metered",
    )

    def __init__(self, words: memoryview, runtime: SeatRuntime) -> None:
        self._words = words
        self._runtime = runtime
        self._clock = runtime.clock
        self._lock = runtime.new_lock()  # for the two counters: never held while anything waits
        self._ask_lock = runtime.new_lock()  # one request at a time
        self._returned = 0
        self._need = 1
        self._last_ask_ns = 0
        self._told_ns = 0
        self.is_metered = False

    @uninterruptible
    def take(self, until_ns: int = 0) -> int:
        """Count a call and return 0 if it may start now; otherwise the nanoseconds after which to try again. With
        ``until_ns`` it waits for its turn, if that comes before this moment."""
        while True:  # again where another thread has taken the grant first
            with self._lock:
                words = self._words
                if words[layout.SPENT] + self._returned < words[layout.GRANTED]:
                    now_ns = self._clock()
                    if words[layout.NOT_BEFORE_NS] <= now_ns < words[layout.NOT_AFTER_NS]:
                        words[layout.LAST_START_NS] = now_ns
                        words[layout.SPENT] += 1
                        return 0
            wait_ns = self._get_grant(until_ns)
            if wait_ns > 0:
                return wait_ns

    @uninterruptible
    def peek(self) -> int:
        """The same answer as ``take`` without waiting for a turn and without counting."""
        wait_ns = self._grant_wait_ns()
        if wait_ns >= 0:
            return wait_ns
        take_turn(self._ask_lock, self._runtime.sleep)
        try:
            wait_ns = self._ask(0)
        finally:
            self._ask_lock.release()
        return max(0, self._grant_wait_ns()) if wait_ns == 0 else wait_ns

    @uninterruptible
    def begin(self) -> tuple[int, int]:
        """Note that a measured call starts; ``end`` needs the result."""
        return self._clock(), self._runtime.cpu_clock()

    @uninterruptible
    def end(self, begun: tuple[int, int], *, failed: bool = False) -> None:
        """Add what a call took, however it ended."""
        wall_ns, cpu_ns = self._clock() - begun[0], self._runtime.cpu_clock() - begun[1]
        with self._lock:
            words = self._words
            words[layout.WALL_NS] += max(0, wall_ns)
            words[layout.SEAT_CPU_NS] += max(0, cpu_ns)
            words[layout.FAILED] += failed
            words[layout.ENDED] += 1

    @uninterruptible
    def figures(self) -> Figures:
        """How much of the limit was used when the supervisor refused a call last, milliseconds ago. Without its answer
        they are older, and say so."""
        words = self._words
        figures = read_figures(words)
        is_silent = words[layout.NEED] == 0 and words[layout.ANSWERED] != words[layout.ASKED]
        return figures._replace(cause=UNREACHED) if is_silent else figures

    @uninterruptible
    def give_back(self) -> bool:
        """Return the unspent grants, because this worker is idle; whether there were any to return. A few may be kept
        of a limit that has very many: then a worker with one task at a time does not ask for each."""
        with self._lock:
            words = self._words
            left = words[layout.GRANTED] - words[layout.SPENT] - self._returned
            if left <= words[layout.KEEP]:
                return False
            self._returned += left
            words[layout.RETURNED] = self._returned
        self._last_ask_ns = 0  # the next request asks for one start again
        return True

    def _grant_wait_ns(self) -> int:
        """Nanoseconds until the unspent grants may be used; -1 if there are none. Void ones are returned."""
        with self._lock:
            words = self._words
            left = words[layout.GRANTED] - words[layout.SPENT] - self._returned
            if left <= 0:
                return -1
            now_ns = self._clock()
            if now_ns >= words[layout.NOT_AFTER_NS]:
                self._returned += left
                words[layout.RETURNED] = self._returned
                return -1
            return max(0, words[layout.NOT_BEFORE_NS] - now_ns)

    def _get_grant(self, until_ns: int) -> int:
        """Ask for a grant or wait for the one there is; 0 when it may be used, otherwise how long it is refused."""
        take_turn(self._ask_lock, self._runtime.sleep)
        try:
            wait_ns = self._grant_wait_ns()
            if wait_ns < 0:
                wait_ns = self._ask(until_ns)
            elif wait_ns > 0:
                wait_ns = self._wait_for_grant(wait_ns, until_ns)
            if wait_ns > 0:
                self._words[layout.REFUSED] += 1
            return wait_ns
        finally:
            self._ask_lock.release()

    def _wait_for_grant(self, wait_ns: int, until_ns: int) -> int:
        """Wait for a grant that is valid later, or return it to others if that is too late."""
        if self._clock() + wait_ns > until_ns:
            if self.give_back():
                self._runtime.ring()
            return wait_ns
        self._runtime.sleep(wait_ns)
        return 0

    def _ask(self, until_ns: int) -> int:
        """Ask the supervisor; 0 when something was granted, otherwise how long to wait before asking again."""
        words, runtime = self._words, self._runtime
        now_ns = self._clock()
        next_at_ns = words[layout.NEXT_AT_NS]
        is_fresh = not self.is_metered or now_ns - self._told_ns < FRESH_NS
        if now_ns < next_at_ns and until_ns < next_at_ns and is_fresh:
            return int(next_at_ns) - now_ns
        eager = now_ns - self._last_ask_ns < _EAGER_NS
        self._need = min(_MOST_NEEDED, self._need * 2) if eager else max(1, words[layout.KEEP])
        self._last_ask_ns = now_ns
        words[layout.UNTIL_NS] = until_ns
        give_up_ns = max(until_ns, now_ns + ANSWER_TIMEOUT_NS)
        try:
            words[layout.NEED] = self._need
            number = words[layout.ASKED] + 1
            words[layout.ASKED] = number
            runtime.ring()
            while words[layout.ANSWERED] != number:
                left_ns = give_up_ns - self._clock()
                if left_ns <= 0:
                    self._told_ns = now_ns + SILENT_RETRY_NS  # not to wait so long again for each of the next calls
                    return SILENT_RETRY_NS
                runtime.wait_rung(left_ns)
        finally:  # also when the action's deadline is raised in that wait
            words[layout.NEED] = 0
        self._told_ns = self._clock()
        return max(0, int(words[layout.NEXT_AT_NS]) - self._told_ns)
