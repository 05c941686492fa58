"""One rate limit of the daemon, and what each worker was granted out of it.

    observe()        read every seat: what was spent (and when), returned, ended
    decide(now, utc) update the limit, answer requests while there is something to grant; when to look again

The order matters: the clock is read after ``observe``, so no start that was seen lies in the future of ``now``.

Every start that is granted was taken out of the limit and stays *outstanding*, counted as if it could happen at any
moment, until a seat shows it spent or returned or its worker's death returns it. So no worker that dies, stalls or
writes nonsense can make the limit be exceeded; it can only leave a part of it unused.

A worker that can wait is granted its start ahead of time: the grant says from when on it may be used, and the latency
between the two processes costs nothing. That is only done when the moment is certain, whatever else happens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from arbd.model.limit_spec import LimitSpec
from arbd.rate_limit.algorithms.base import NEVER_NS, Limit
from arbd.rate_limit.algorithms.build import build
from arbd.rate_limit.gates import figures_of, meter_window_ns, warns
from arbd.rate_limit.grants.seat import GrantRequest
from arbd.rate_limit.grants.supervisor_seat import SeatDelta, SupervisorSeat
from arbd.rate_limit.usage import Figures, Thresholds, UsageMeter

_KEPT_PART: Final = 1000  # all idle workers together may keep a thousandth of a limit
_STOCK_PART: Final = 64
_REFUSALS_KEPT: Final = 5
LOOK_AGAIN_NS: Final = 2_000_000  # while a worker waits for a start that another holds


class Refusal(NamedTuple):
    """A refused request; calls that a worker turned away without asking are not among these."""

    at_ns: int
    wait_ns: int
    worker_id: int


class Decision(NamedTuple):
    """The result of a look: workers to ring with an answer, when to look again, whether a threshold was crossed."""

    answered: list[int]
    look_at_ns: int | None
    crossed: float | None  # usage, where it has just entered or left a threshold


class Account:
    """The supervisor's side of one limit; ``limit`` is its algorithm with its present state."""

    def __init__(self, spec: LimitSpec, limit: Limit | None = None) -> None:
        self.spec = spec
        self.limit: Limit = build(spec) if limit is None else limit
        self.meter = UsageMeter(meter_window_ns(spec))
        self.thresholds = Thresholds(spec.warning_threshold, spec.critical_threshold)
        self.outstanding = 0
        self._warns = warns(spec, self.limit)
        self._seats: dict[int, SupervisorSeat] = {}
        self._deltas: list[SeatDelta] = []
        self._asking: dict[int, None] = {}  # workers, in the order in which they asked
        self._refused_before = 0  # by workers that are gone
        self._spent_before = 0  # likewise
        self.last_refusals: deque[Refusal] = deque(maxlen=_REFUSALS_KEPT)
        self._usable_until_ns = NEVER_NS
        self._killed = 0  # calls that ended with their worker, since the last look
        self._killed_since_ns = 0

    def change(self, spec: LimitSpec, limit: Limit | None = None) -> None:
        """Replace the limit. The new one starts with nothing used but what is outstanding. Raises what the old limit's
        ``close`` raises, after everything else is done."""
        self.observe()
        for seen in self._deltas:  # what has started by now counted for the limit before
            self.outstanding -= seen.spent + seen.returned
        self._deltas.clear()
        before, self.limit = self.limit, build(spec) if limit is None else limit
        self.spec = spec
        self._warns = warns(spec, self.limit)
        self.meter = UsageMeter(meter_window_ns(spec))
        self.thresholds = Thresholds(spec.warning_threshold, spec.critical_threshold)
        for seat in self._seats.values():
            seat.begin_measuring()
        before.close()

    # -- workers -----------------------------------------------------------------------------------------

    def attach(self, worker_id: int, seat: SupervisorSeat) -> None:
        """Add a worker that is about to start, with its zeroed seat."""
        self._seats[worker_id] = seat
        seat.use_until(self._usable_until_ns)

    def detach(self, worker_id: int) -> None:
        """Remove a dead worker: its unspent grants are free again, and a call it was in has ended now."""
        seat = self._seats.pop(worker_id)
        self._asking.pop(worker_id, None)
        self._observe(seat)
        self.outstanding -= seat.outstanding
        self._refused_before += seat.refused
        self._spent_before += seat.holding[1]
        if self.spec.metered and seat.running > 0:
            self._killed += seat.running
            self._killed_since_ns = seat.last_start_ns

    @property
    def seats(self) -> Mapping[int, SupervisorSeat]:
        """The seats of the attached workers, by worker id."""
        return self._seats

    @property
    def refused(self) -> int:
        """The number of calls ever turned away."""
        return self._refused_before + sum(seat.refused for seat in self._seats.values())

    @property
    def spent(self) -> int:
        """The number of calls ever let through, as far as it was looked."""
        return self._spent_before + sum(seat.holding[1] for seat in self._seats.values())

    # -- one look ----------------------------------------------------------------------------------------

    def observe(self) -> None:
        """Read every seat: counters that have grown, and new requests."""
        for worker_id, seat in self._seats.items():
            self._observe(seat)
            if worker_id not in self._asking and seat.request() is not None:
                self._asking[worker_id] = None

    def _observe(self, seat: SupervisorSeat) -> None:
        seen = seat.observe()
        if seen is not None:
            self._deltas.append(seen)

    def decide(self, now_ns: int, utc_ns: int) -> Decision:
        """Apply what was observed, and answer requests. ``now_ns`` (monotonic) is read after ``observe``; ``utc_ns`` is
        the wall clock, for calendars."""
        self.limit.set_utc(now_ns, utc_ns)
        self._settle(now_ns)
        self._bound(now_ns)
        answered = self._answer(now_ns)
        self.limit.settle(now_ns, self.outstanding)
        usage = self.limit.usage(now_ns) if self._warns else 0.0
        crossed = self._warns and self.thresholds.update(usage)
        return Decision(answered, self._look_at(now_ns), usage if crossed else None)

    def put_off(self, now_ns: int, until_ns: int) -> list[int]:
        """Refuse the requests that cannot wait until ``until_ns``, when this is tried again; the workers to ring."""
        answered = []
        for worker_id, seat in self._seats.items():
            request = seat.request()
            if request is not None and request.until_ns < until_ns:
                self._asking.pop(worker_id, None)
                seat.publish_unreached()
                seat.refuse_until(until_ns)
                seat.answer(request)
                self.last_refusals.appendleft(Refusal(now_ns, until_ns - now_ns, worker_id))
                answered.append(worker_id)
        return answered

    def startable(self, now_ns: int, at_ns: int) -> int:
        """How many calls could start at ``at_ns``, outstanding ones included; ``now_ns`` is read after ``observe``."""
        self._settle(now_ns)
        return self.limit.startable(at_ns, self.outstanding)

    def figures(self, now_ns: int) -> Figures:
        """The figures of the limit, which refuses a call at ``now_ns``."""
        return figures_of(self.meter, self.limit, self.outstanding, now_ns)

    # -- inside ------------------------------------------------------------------------------------------

    def _settle(self, now_ns: int) -> None:
        limit, meter = self.limit, self.meter
        # Whatever fails in here, nothing is settled twice, and what was not settled stays outstanding: then a part of
        # the limit is left unused, and it is not exceeded.
        deltas, self._deltas = sorted(self._deltas, key=lambda seen: seen.last_start_ns), []
        for seen in deltas:
            if seen.spent:
                at_ns = min(now_ns, seen.last_start_ns)  # a future date comes from a broken worker
                limit.spend(at_ns, seen.spent)
                meter.add(now_ns, seen.spent, 0, 0)
            self.outstanding -= seen.spent + seen.returned
            if seen.failed:
                limit.blame(now_ns, seen.failed)
            if seen.ended:
                limit.charge(now_ns, seen.ended, seen.wall_ns, seen.cpu_ns)
                meter.add(now_ns, 0, seen.wall_ns, seen.cpu_ns)
        if self.spec.metered:
            self._settle_running(now_ns)
        limit.forget(now_ns)

    def _settle_running(self, now_ns: int) -> None:
        if self._killed:
            took_ns = self._killed * max(0, now_ns - self._killed_since_ns)
            self.limit.blame(now_ns, self._killed)
            self.limit.charge(now_ns, self._killed, took_ns, took_ns)
            self.meter.add(now_ns, 0, took_ns, took_ns)
            self._killed = 0
        running = elapsed_ns = 0
        for seat in self._seats.values():
            if seat.running:
                running += seat.running
                elapsed_ns += seat.running * max(0, now_ns - seat.last_start_ns)
        self.limit.progress(running, elapsed_ns)

    def _bound(self, now_ns: int) -> None:
        """Tell the seats how long grants are valid; before anything is granted, or it might be void on arrival."""
        until_ns = self.limit.usable_until(now_ns, self.outstanding)
        if until_ns != self._usable_until_ns:
            self._usable_until_ns = until_ns
            for seat in self._seats.values():
                seat.use_until(until_ns)

    def _answer(self, now_ns: int) -> list[int]:
        answered = []
        waiting = len(self._asking)
        for worker_id in list(self._asking):
            seat = self._seats[worker_id]
            request = seat.request()
            if request is None:  # withdrawn
                del self._asking[worker_id]
            elif self._serve(worker_id, request, now_ns, waiting):
                del self._asking[worker_id]
                seat.answer(request)
                answered.append(worker_id)
            waiting -= 1
        self._correct_refusals(now_ns)
        return answered

    def _correct_refusals(self, now_ns: int) -> None:
        """Change when refused workers may ask again: now if a start is free, later if others came first, sooner if a
        call has ended that was expected to cost more."""
        free = self.limit.available(now_ns, self.outstanding) > 0
        next_at_ns = 0 if free else self.limit.next_at(now_ns, self.outstanding)
        for seat in self._seats.values():
            if seat.next_at_ns and seat.next_at_ns != next_at_ns:
                seat.refuse_until(next_at_ns)

    def _serve(self, worker_id: int, request: GrantRequest, now_ns: int, waiting: int) -> bool:
        """Grant or refuse the request of one worker; ``False`` if it goes on waiting."""
        seat = self._seats[worker_id]
        limit = self.limit
        free = limit.available(now_ns, self.outstanding)
        if free <= 0 and not self._is_refused(seat, request, now_ns):
            limit.refill(now_ns, min(request.need, limit.max_batch))
            free = limit.available(now_ns, self.outstanding)
        if free > 0:
            # A large stock may go out in larger pieces: what is spent at once is also seen at once. But what a worker
            # holds through a long task is lost to others, so a piece is a small part of it.
            batch = max(limit.max_batch, free // _STOCK_PART)
            self.meter.begin(now_ns)
            self._grant(seat, min(request.need, batch, max(1, free // waiting)), 0)
            return True
        if limit.undecided:
            return False
        next_at_ns = limit.next_at(now_ns, self.outstanding)
        if request.until_ns < next_at_ns:
            seat.publish(self.figures(now_ns))
            seat.refuse_until(next_at_ns)
            self.last_refusals.appendleft(Refusal(now_ns, next_at_ns - now_ns, worker_id))
            return True
        certain = not self.spec.metered and limit.available(next_at_ns, self.outstanding) > 0
        if certain and seat.outstanding == 0:
            self._grant(seat, 1, next_at_ns)
            return True
        return False

    def _is_refused(self, seat: SupervisorSeat, request: GrantRequest, now_ns: int) -> bool:
        """Whether this worker was told not to ask yet, and asks for the figures of this moment: the storage need not be
        asked for that."""
        return now_ns < seat.next_at_ns and request.until_ns < seat.next_at_ns

    def _grant(self, seat: SupervisorSeat, calls: int, not_before_ns: int) -> None:
        seat.may_keep(self.limit.capacity // (_KEPT_PART * len(self._seats)))
        seat.grant(calls, not_before_ns)
        self.outstanding += calls

    def _look_at(self, now_ns: int) -> int | None:
        settle_at_ns = self.limit.look_at(now_ns, busy=bool(self._asking or self.outstanding))
        if settle_at_ns is not None:
            return settle_at_ns
        if not self._asking:
            return None
        next_at_ns = self.limit.next_at(now_ns, self.outstanding)
        if self.outstanding == 0:
            return max(next_at_ns, now_ns)
        held_until_ns = min(seat.not_before_ns for seat in self._seats.values() if seat.outstanding)
        return max(now_ns + LOOK_AGAIN_NS // 4, min(next_at_ns, max(held_until_ns, now_ns + LOOK_AGAIN_NS)))
