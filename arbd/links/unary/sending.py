"""The order in which a link sends results: those put aside whose time has come, then the outbox.

Pure; times are seconds of a monotonic clock. Not the outbox: an outcome put aside still counts there as with a
sender, until it is acknowledged or put back.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

import msgspec

from arbd.core.backoff import Backoff
from arbd.core.outbox import Outbox
from arbd.links.unary.messages import Form
from arbd.model.task import Outcome


class Delivery(msgspec.Struct):
    """A result on its way: the form it is sent in, and its pauses if it was put aside."""

    outcome: Outcome
    form: Form = Form.FULL
    backoff: Backoff | None = None


class SendQueue:
    """The results to be sent. ``new_backoff``: makes the back-off of one that is put aside."""

    def __init__(self, outbox: Outbox, new_backoff: Callable[[], Backoff]) -> None:
        self._outbox = outbox
        self._new_backoff = new_backoff
        self._aside: list[tuple[float, int, Delivery]] = []  # heap: due at, tie-breaker, delivery
        self._number = itertools.count()

    def take(self, now: float) -> Delivery | None:
        """What to send now; ``None`` if there is nothing yet."""
        if self._aside and self._aside[0][0] <= now:
            return heapq.heappop(self._aside)[2]
        outcome = self._outbox.take()
        return None if outcome is None else Delivery(outcome)

    def due_at(self) -> float:
        """When the next result that was put aside is due; infinity if none was."""
        return self._aside[0][0] if self._aside else math.inf

    def defer(self, delivery: Delivery, now: float) -> None:
        """Put a result aside for a while; longer each time."""
        if delivery.backoff is None:
            delivery.backoff = self._new_backoff()
        heapq.heappush(self._aside, (now + delivery.backoff.next_s(), next(self._number), delivery))

    def shrink(self, delivery: Delivery, now: float) -> bool:
        """Have a result sent again at once, in the next smaller form; ``False`` if there is none."""
        if delivery.form is Form.REPLACED:
            return False
        delivery.form = Form(delivery.form.value + 1)
        heapq.heappush(self._aside, (now, next(self._number), delivery))
        return True

    def expedite(self) -> None:
        """Everything that was put aside is due now."""
        self._aside = [(-math.inf, number, delivery) for _, number, delivery in self._aside]
        heapq.heapify(self._aside)

    def put_all_back(self) -> None:
        """Return everything that was put aside to the outbox. If that raises, what is not returned is still here."""
        while self._aside:
            self._outbox.put_back(self._aside[-1][2].outcome)
            self._aside.pop()
