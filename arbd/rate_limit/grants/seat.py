"""One worker's share in one rate limit, seen from either side: the words of a *seat* (``arbd.ipc.layout``).

    worker                                       supervisor
      spent + returned < granted ?  ──yes──> start: LAST_START_NS, then SPENT
               │no
      before NEXT_AT_NS ?  ──yes──> limited, without asking anybody
               │no
      UNTIL_NS, NEED, then ASKED ──ring──>  observe every seat, take from the one bucket
               <──ring── NOT_BEFORE_NS, then GRANTED, then ANSWERED          (or only NEXT_AT_NS, then ANSWERED)

Not the bucket: what may be granted is decided in ``arbd.rate_limit.grants.account``. Invariants:

* every word has one writer and the counters only grow, so both sides may die at any instruction: what was granted and
  neither spent nor returned is ``granted - spent - returned``, exactly;
* SPENT is stored before the call starts: a worker killed in between has spent it;
* LAST_START_NS is read from the clock after the grant was seen and stored before SPENT, so a supervisor that reads
  SPENT first and LAST_START_NS after it never dates a start too early;
* a grant may end (NOT_AFTER_NS): what is only on loan from a limit of many hosts is not used later, also not by a
  worker that was stopped meanwhile;
* a worker that hears nothing treats that as limited: a stalled supervisor can make workers idle, never too fast;
* the worker's own steps are not torn by its task's deadline (``arbd.interrupts``): what SPENT counts was started, what
  ASKED asks is waited for or withdrawn. The deadline strikes in the waits, in which no step is half done.

Pure: clock, locks, bells and sleep are arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from arbd.interrupts import take_turn, uninterruptible
from arbd.ipc import layout
from arbd.rate_limit.algorithms.base import NEVER_NS
from arbd.rate_limit.usage import Figures, Totals

if TYPE_CHECKING:
    from threading import Lock

ANSWER_TIMEOUT_NS: Final = 100_000_000  # a supervisor answers in 0.1 ms, in some ms when it is busy
SILENT_RETRY_NS: Final = 1_000_000_000  # what a caller is told to wait when the supervisor did not answer
_EAGER_NS: Final = 10_000_000  # dry again this soon: ask for twice as many
_MOST_NEEDED: Final = 1 << 16
_PPM: Final = 1_000_000


class Observed(NamedTuple):
    """What a seat shows since the last look."""

    spent: int
    last_start_ns: int
    returned: int
    ended: int
    failed: int
    wall_ns: int
    cpu_ns: int


class Question(NamedTuple):
    """A worker wants ``need`` starts, and can wait for them until ``until_ns`` (0: it cannot wait)."""

    number: int
    need: int
    until_ns: int


class SupervisorSeat:
    """The supervisor's side. It believes nothing: what cannot be is cut down to what can."""

    __slots__ = (
        *(
            "_cpu_ns",
            "_ended",
            "_failed",
            "_granted",
            "_keep",
            "_members",
            "_never_measured",
            "_returned",
            "_spent",
            "_wall_ns",
            "_words",
        ),
        *("answered", "last_start_ns", "next_at_ns", "not_before_ns"),
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
        """Granted, and not known to be spent or returned."""
        return self._granted - self._spent - self._returned

    @property
    def holding(self) -> tuple[int, int]:
        """Starts ever granted, and those of them that were spent."""
        return self._granted, self._spent

    @property
    def refused(self) -> int:
        """Calls its worker turned away."""
        return int(self._words[layout.REFUSED])

    @property
    def running(self) -> int:
        """Calls that have started and not ended; true only where they are measured."""
        return max(0, self._spent - self._ended - self._never_measured)

    def begin_measuring(self) -> None:
        """Calls that started before now do not count as running: nobody may have measured them."""
        self._never_measured = self._spent - self._ended

    def observe(self) -> Observed | None:
        """What is new; ``None`` if nothing is."""
        words = self._words
        # SPENT before LAST_START_NS: see above.
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
        return Observed(new_spent, self.last_start_ns, new_returned, new_ended, new_failed, new_wall_ns, new_cpu_ns)

    @property
    def is_left(self) -> bool:
        """Whether starts were granted for a question that its worker no longer waits for: it may be asleep by now.
        Load it only after the worker was rung: the grant must be stored before."""
        return self.outstanding > 0 and self._words[layout.NEED] == 0

    def question(self) -> Question | None:
        """The question that is open; ``None`` if none is, or it was withdrawn."""
        words = self._words
        number = words[layout.ASKED]
        if number == self.answered:
            return None
        need = words[layout.NEED]
        if need == 0:
            self.answered = number
            return None
        return Question(number, need, words[layout.UNTIL_NS])

    def grant(self, calls: int, not_before_ns: int = 0) -> None:
        """Allow more starts. ``not_before_ns`` only if the worker has none left: it holds for all that it has."""
        words = self._words
        if not_before_ns != self.not_before_ns:
            self.not_before_ns = words[layout.NOT_BEFORE_NS] = not_before_ns
        self._granted += calls
        self.refuse_until(0)
        words[layout.GRANTED] = self._granted

    def refuse_until(self, next_at_ns: int) -> None:
        """Before this moment the worker need not ask."""
        if next_at_ns != self.next_at_ns:
            self.next_at_ns = self._words[layout.NEXT_AT_NS] = next_at_ns

    def use_until(self, not_after_ns: int) -> None:
        """What is granted, now and later, is void from this moment on."""
        self._words[layout.NOT_AFTER_NS] = not_after_ns

    def may_keep(self, calls: int) -> None:
        """So many grants the worker need not give back when it has nothing to do."""
        if calls != self._keep:
            self._keep = self._words[layout.KEEP] = calls

    def publish(self, figures: Figures) -> None:
        """What responses say about the limit."""
        words, totals = self._words, figures.totals
        words[layout.COUNT] = totals.calls
        words[layout.TOTAL_WALL_NS] = totals.wall_ns
        words[layout.TOTAL_CPU_NS] = totals.cpu_ns
        words[layout.CALL_USAGE_PPM] = max(0, round(figures.call_usage * _PPM))
        words[layout.CPU_USAGE_PPM] = max(0, round(figures.cpu_usage * _PPM))
        words[layout.LEVEL] = figures.level
        if figures.members != self._members:
            self._members = figures.members
            _write_names(words, figures.members)

    def answer(self, question: Question) -> None:
        """Done with it; the worker may be rung."""
        self.answered = self._words[layout.ANSWERED] = question.number


class Surroundings(Protocol):
    """What a worker's seats need of the process they are in. Its two waits are interruptible (``arbd.interrupts``)."""

    def clock(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""

    def cpu_clock(self) -> int:
        """CPU time of this thread in nanoseconds."""

    def new_lock(self) -> Lock:
        """A lock among the threads of this process."""

    def ring(self) -> None:
        """Wake the supervisor's limits."""

    def wait_rung(self, timeout_ns: int) -> None:
        """Return when rung by the supervisor, at the latest after this time; too early does no harm."""

    def sleep(self, ns: int) -> None:
        """Sleep."""


class WorkerSeat:
    """The worker's side: a gate that calls pass one by one. Threads may share it."""

    __slots__ = (
        *("_around", "_ask_lock", "_clock", "_dry_at_ns", "_lock", "_need", "_returned", "_words"),
        "measured",
    )

    def __init__(self, words: memoryview, around: Surroundings, *, measured: bool) -> None:
        self._words = words
        self._around = around
        self._clock = around.clock
        self._lock = around.new_lock()  # for the two counters: never held while anything waits
        self._ask_lock = around.new_lock()  # one question at a time
        self._returned = 0
        self._need = 1
        self._dry_at_ns = 0
        self.measured = measured

    @uninterruptible
    def take(self, until_ns: int = 0) -> int:
        """0: a call may start now, and counts. Otherwise how many nanoseconds to wait before it is worth trying.

        With ``until_ns`` it waits for its turn until that moment, if it can come by then.
        """
        with self._lock:
            words = self._words
            if words[layout.SPENT] + self._returned < words[layout.GRANTED]:
                now_ns = self._clock()
                if words[layout.NOT_BEFORE_NS] <= now_ns < words[layout.NOT_AFTER_NS]:
                    words[layout.LAST_START_NS] = now_ns
                    words[layout.SPENT] += 1
                    return 0
        return self._take_slowly(until_ns)

    @uninterruptible
    def peek(self) -> int:
        """As ``take`` without waiting, but nothing counts: 0 says that a call could start now."""
        wait_ns = self._grant_left()
        if wait_ns >= 0:
            return wait_ns
        take_turn(self._ask_lock, self._around.sleep)
        try:
            wait_ns = self._ask(0)
        finally:
            self._ask_lock.release()
        return max(0, self._grant_left()) if wait_ns == 0 else wait_ns

    @uninterruptible
    def begin(self) -> tuple[int, int]:
        """A call that is measured starts; give the result to ``end``."""
        return self._clock(), self._around.cpu_clock()

    @uninterruptible
    def end(self, begun: tuple[int, int], *, failed: bool = False) -> None:
        """It has ended, however."""
        wall_ns, cpu_ns = self._clock() - begun[0], self._around.cpu_clock() - begun[1]
        with self._lock:
            words = self._words
            words[layout.WALL_NS] += max(0, wall_ns)
            words[layout.SEAT_CPU_NS] += max(0, cpu_ns)
            words[layout.FAILED] += failed
            words[layout.ENDED] += 1

    @uninterruptible
    def figures(self) -> Figures:
        """How much of the limit is used, as the supervisor last said."""
        words = self._words
        totals = Totals(words[layout.COUNT], words[layout.TOTAL_WALL_NS], words[layout.TOTAL_CPU_NS])
        call_usage, cpu_usage = words[layout.CALL_USAGE_PPM] / _PPM, words[layout.CPU_USAGE_PPM] / _PPM
        return Figures(totals, call_usage, cpu_usage, words[layout.LEVEL], _read_names(words))

    @uninterruptible
    def give_back(self) -> bool:
        """Return what is not spent, because this worker has nothing to do; whether there was anything to return.

        A few may be kept of a limit that has very many: then who has one task at a time does not ask for each.
        """
        with self._lock:
            words = self._words
            left = words[layout.GRANTED] - words[layout.SPENT] - self._returned
            if left <= words[layout.KEEP]:
                return False
            self._returned += left
            words[layout.RETURNED] = self._returned
        self._dry_at_ns = 0  # the next question is a first one again: it asks for one
        return True

    def _grant_left(self) -> int:
        """Nanoseconds until the grant that is left may be used; -1 if none is left. One that is void is given back."""
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

    def _take_slowly(self, until_ns: int) -> int:
        take_turn(self._ask_lock, self._around.sleep)
        try:
            while True:
                wait_ns = self._grant_left()
                if wait_ns < 0:
                    wait_ns = self._ask(until_ns)
                elif wait_ns > 0:
                    wait_ns = self._sit_out(wait_ns, until_ns)
                if wait_ns > 0:
                    self._words[layout.REFUSED] += 1
                    return wait_ns
                with self._lock:
                    words = self._words
                    now_ns = self._clock()
                    has_grant = words[layout.SPENT] + self._returned < words[layout.GRANTED]
                    if has_grant and words[layout.NOT_BEFORE_NS] <= now_ns < words[layout.NOT_AFTER_NS]:
                        words[layout.LAST_START_NS] = now_ns
                        words[layout.SPENT] += 1
                        return 0
                # Another thread has been faster: once more.
        finally:
            self._ask_lock.release()

    def _sit_out(self, wait_ns: int, until_ns: int) -> int:
        """A grant is there, but for later: wait for it, or let somebody have it who can."""
        if self._clock() + wait_ns > until_ns:
            if self.give_back():
                self._around.ring()
            return wait_ns
        self._around.sleep(wait_ns)
        return 0

    def _ask(self, until_ns: int) -> int:
        """Ask the supervisor; 0 when something was granted, else how long to wait before asking again."""
        words, around = self._words, self._around
        now_ns = self._clock()
        next_at_ns = words[layout.NEXT_AT_NS]
        if now_ns < next_at_ns and until_ns < next_at_ns:
            return int(next_at_ns) - now_ns
        eager = now_ns - self._dry_at_ns < _EAGER_NS
        self._need = min(_MOST_NEEDED, self._need * 2) if eager else max(1, words[layout.KEEP])
        self._dry_at_ns = now_ns
        words[layout.UNTIL_NS] = until_ns
        give_up_ns = max(until_ns, now_ns + ANSWER_TIMEOUT_NS)
        try:
            words[layout.NEED] = self._need
            number = words[layout.ASKED] + 1
            words[layout.ASKED] = number
            around.ring()
            while words[layout.ANSWERED] != number:
                left_ns = give_up_ns - self._clock()
                if left_ns <= 0:
                    return SILENT_RETRY_NS
                around.wait_rung(left_ns)
        finally:  # also when the action's deadline strikes in that wait
            words[layout.NEED] = 0
        return max(0, int(words[layout.NEXT_AT_NS]) - self._clock())


def _write_names(words: memoryview, names: tuple[str, ...]) -> None:
    """As many names as there is room for; whole ones, so far as the last is not very long."""
    text = "\n".join(names).encode()[: layout.MEMBERS_BYTES]
    for at in range(0, len(text), 8):
        words[layout.MEMBERS + 1 + at // 8] = int.from_bytes(text[at : at + 8].ljust(8, b"\0"), "little")
    words[layout.MEMBERS] = len(text)


def _read_names(words: memoryview) -> tuple[str, ...]:
    length = min(words[layout.MEMBERS], layout.MEMBERS_BYTES)
    if not length:
        return ()
    first = layout.MEMBERS + 1
    text = b"".join(word.to_bytes(8, "little") for word in words[first : first + -(-length // 8)])[:length]
    return tuple(text.decode(errors="replace").split("\n"))
