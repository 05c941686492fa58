"""The gate of a limit over Redis for one process alone, where a monitor is used outside a daemon.

The thread that takes a start also talks to Redis: there is no background thread and no timer. In a daemon the
supervisor talks for all its workers (``arbd.supervisor.limits.redis_talk``).
"""

from __future__ import annotations

from collections.abc import Callable

from arbd.interrupts import call, take_turn, uninterruptible
from arbd.model.limit_spec import LimitSpec
from arbd.rate_limit.gates import Timing, figures_of, meter_window_ns
from arbd.rate_limit.storage.redis_lease import RedisLease
from arbd.rate_limit.storage.redis_script import LeaseReply, LeaseRequest
from arbd.rate_limit.usage import Figures, UsageMeter

Ask = Callable[[LeaseRequest, Callable[[], int]], LeaseReply | None]
"""Puts a request to Redis; the second argument is the clock. ``None``: no answer, and that has been said in the log."""


class RedisGate:
    """A gate over a lease in Redis; threads may share it, and one of them talks at a time. A task's deadline may be
    raised while it waits or talks."""

    def __init__(self, spec: LimitSpec, lease: RedisLease, ask: Ask, timing: Timing) -> None:
        self._spec = spec
        self._lease = lease
        self._ask = ask
        self._timing = timing
        self._meter = UsageMeter(meter_window_ns(spec))
        self._lock = timing.new_lock()

    @uninterruptible
    def take(self, until_ns: int = 0) -> int:
        while True:
            take_turn(self._lock, self._timing.sleep)
            try:
                wait_ns, now_ns = self._take_now()
            finally:
                self._lock.release()
            if wait_ns == 0 or now_ns + wait_ns > until_ns:
                return wait_ns
            self._timing.sleep(wait_ns)

    def _take_now(self) -> tuple[int, int]:
        """How long to wait, and since when; 0: the call was counted."""
        now_ns = self._timing.clock()
        due_ns = self._lease.due_at()
        if due_ns is not None and due_ns <= now_ns:
            now_ns = self._exchange(now_ns, 1)
        if not self._lease.available(now_ns, 0):  # also when Redis has just come back: now ask for a start
            now_ns = self._exchange(now_ns, 1)
        wait_ns = self._wait_ns(now_ns)
        if wait_ns == 0:
            self._lease.spend(now_ns, 1)
            self._meter.add(now_ns, 1, 0, 0)
        return wait_ns, now_ns

    @uninterruptible
    def peek(self) -> int:
        take_turn(self._lock, self._timing.sleep)
        try:
            now_ns = self._timing.clock()
            if not self._lease.available(now_ns, 0):
                now_ns = self._exchange(now_ns, 0)
                if self._lease.startable(now_ns, 0):
                    return 0
            return self._wait_ns(now_ns)
        finally:
            self._lock.release()

    def begin(self) -> tuple[int, int]:
        return 0, 0  # nothing is measured

    def end(self, begun: tuple[int, int], *, failed: bool = False) -> None:
        """Do nothing: calls are not measured."""

    @uninterruptible
    def figures(self) -> Figures:
        take_turn(self._lock, self._timing.sleep)
        try:
            now_ns = self._timing.clock()
            return figures_of(self._meter, self._lease, 0, now_ns)
        finally:
            self._lock.release()

    def _wait_ns(self, now_ns: int) -> int:
        lease = self._lease
        return 0 if lease.available(now_ns, 0) > 0 else max(1, lease.next_at(now_ns, 0) - now_ns)

    def _exchange(self, now_ns: int, want: int) -> int:
        """Make an exchange with Redis if it can help; the time after it."""
        lease = self._lease
        lease.forget(now_ns)
        lease.refill(now_ns, 0 if lease.available(now_ns, 0) else want)
        lease.settle(now_ns, 0)
        due_ns = lease.due_at()
        if not lease.undecided and (due_ns is None or due_ns > now_ns):
            return now_ns  # refused until later, or away
        request = lease.plan(now_ns)
        sent_at_ns = self._timing.clock()
        try:
            reply = call(self._ask, (request, self._timing.clock))
        except BaseException:  # the task's deadline: whether Redis got it is not known
            lease.fail(self._timing.clock())
            raise
        now_ns = self._timing.clock()
        if reply is None:
            lease.fail(now_ns)
        else:
            lease.receive(reply, sent_at_ns, now_ns)
        return now_ns
