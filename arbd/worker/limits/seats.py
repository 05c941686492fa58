"""The rate limits of a worker: each monitor gets its seat in the daemon's ledger.

What a seat does is in ``arbd.rate_limit.grants.worker_seat``; here are the bells, live limits, and the moment when an
idle worker returns what it holds.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Sequence
from typing import Final, cast

from arbd.author.provider import Provider
from arbd.errors import InvariantError, ProviderError, RegistrationError
from arbd.host import doorbell
from arbd.host.timing import ProcessTiming
from arbd.interrupts import interruptible, take_turn, uninterruptible
from arbd.ipc import layout
from arbd.rate_limit import NoRateLimitMonitor, RateLimitMonitor, registry
from arbd.rate_limit.grants.live import LiveLimit, WorkerLive
from arbd.rate_limit.grants.worker_seat import WorkerSeat
from arbd.rate_limit.limit_monitor import LimitMonitor
from arbd.worker.execute import Context
from arbd.worker.numbers import Numbers

_TOLD_WITHIN_NS: Final = 1_000_000_000
_LONGEST_WAIT_NS: Final = 20_000_000  # two threads that ask may take each other's ring


class Bells(ProcessTiming):
    """The clocks of this process, and the two doorbells between it and the supervisor's limits."""

    def __init__(self, *, ask: int, answer: int) -> None:
        self._ask = ask
        self._answer = answer
        os.set_blocking(answer, False)
        self._poll = select.poll()
        self._poll.register(answer, select.POLLIN)

    def ring(self) -> None:
        """Wake the supervisor's limits."""
        doorbell.ring(self._ask)

    @interruptible
    def wait_rung(self, timeout_ns: int) -> None:
        """Wait for an answer. A ring meant for another limit's request ends the wait, too, and does no harm."""
        if self._poll.poll(max(1, min(_LONGEST_WAIT_NS, timeout_ns) // 1_000_000)):
            doorbell.clear(self._answer)  # another thread may have taken it; its own look comes first


class WorkerLimits:
    """The seats of one worker. ``numbers`` says which limit and which action has which seat."""

    def __init__(self, words: memoryview, provider: Provider, numbers: Numbers, bells: Bells) -> None:
        self._words = words
        self._bells = bells
        self._first = layout.seat_at(int(words[layout.RING_SIZE]), 0)
        self._seats: dict[int, WorkerSeat] = {}
        self._attach_all(cast(list[LimitMonitor], registry.collect(provider)), numbers.limits)
        #: The seats for limits that are set while the daemon runs; the last is the default's.
        self._live_numbers = {
            action: len(numbers.limits) + number for number, action in enumerate((*numbers.actions, None))
        }
        live_at = self._first + (len(numbers.limits) + len(self._live_numbers)) * layout.SEAT_WORDS
        self._live = WorkerLive(words[live_at : live_at + layout.LIVE_WORDS])
        self.changed = self._live.is_new
        self._lock = threading.Lock()
        provider.actions.tell_workers = self.tell
        registry.seal()

    def _attach_all(self, monitors: Sequence[LimitMonitor], names: Sequence[str]) -> None:
        by_name = {monitor.spec.name: monitor for monitor in monitors}
        for number, name in enumerate(names):
            monitor = by_name.get(name)
            if monitor is None:
                raise InvariantError(
                    f"rate limit {name!r} was described but is not made here: the provider's module does not make "
                    "the same limits each time it is imported; give them name=..."
                )
            self._attach(monitor, number)

    def _attach(self, monitor: LimitMonitor, number: int) -> None:
        if number not in self._seats:
            at = self._first + number * layout.SEAT_WORDS
            words = self._words[at : at + layout.SEAT_WORDS]
            self._seats[number] = WorkerSeat(words, self._bells)
        self._seats[number].is_metered = monitor.spec.metered
        monitor.attach(self._seats[number])

    def give_back(self) -> None:
        """Return unspent grants to the supervisor: this worker is idle."""
        returned = [seat.give_back() for seat in self._seats.values()]
        if any(returned):
            self._bells.ring()

    # -- limits that are set while the daemon runs ---------------------------------------------------------

    @uninterruptible
    def tell(self, action: str | None, monitor: RateLimitMonitor) -> None:
        """Have all workers use this monitor for an action, or as default; returns when the supervisor has taken it.

        Raises ``RegistrationError`` for a monitor that is not built in, and ``ProviderError`` if the supervisor
        refuses.
        """
        if not type(monitor).__module__.startswith("arbd."):
            raise RegistrationError(
                f"{type(monitor).__name__} cannot be passed to the other workers; while the daemon runs only a "
                "built-in monitor can be set. Set this one where the provider is made."
            )
        spec = monitor.spec if isinstance(monitor, LimitMonitor) else None
        take_turn(self._lock, self._bells.sleep)
        try:
            granted = self._request(LiveLimit(action, spec))
        finally:
            self._lock.release()
        if not granted:
            raise ProviderError("the daemon cannot take the new limit; see its log")

    def _request(self, limit: LiveLimit) -> bool:
        bells = self._bells
        self._live.request(limit)
        bells.ring()
        give_up_ns = bells.clock() + _TOLD_WITHIN_NS
        while (granted := self._live.answer()) is None:
            left_ns = give_up_ns - bells.clock()
            if left_ns <= 0:
                raise ProviderError("the daemon did not take the new limit in time; it may still do so")
            bells.wait_rung(left_ns)
        return granted

    def apply(self, context: Context) -> None:
        """Have the actions use the live limits of the table, which has changed."""
        table = self._live.read()
        if table is None:
            return
        changed: dict[str | None, RateLimitMonitor] = {}
        for live in table:
            number = self._live_numbers.get(live.action)
            if number is None:
                continue
            if live.limit is None:
                changed[live.action] = NoRateLimitMonitor()
            else:
                monitor = changed[live.action] = LimitMonitor.of(live.limit)
                self._attach(monitor, number)
        context.change_limits(changed)
