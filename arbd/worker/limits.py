"""A worker's rate limits: its monitors get their seats in the daemon's ledger.

What a seat does is ``arbd.core.ledger``; here are the bells, and the moment when an idle worker gives back
what it holds.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import Final

from arbd.core import layout
from arbd.core.ledger import WorkerSeat
from arbd.errors import InvariantError
from arbd.host import doorbell
from arbd.host.timing import ProcessTiming
from arbd.rate_limit.monitors import LimitMonitor

_LONGEST_WAIT_NS: Final = 20_000_000  # two threads that ask may take each other's ring


class Bells(ProcessTiming):
    """The clocks of this process, and the two bells between it and the supervisor's limits."""

    def __init__(self, *, ask: int, answer: int) -> None:
        self._ask = ask
        self._answer = answer
        os.set_blocking(answer, False)
        self._poll = select.poll()
        self._poll.register(answer, select.POLLIN)

    def ring(self) -> None:
        """Wake the supervisor's limits."""
        doorbell.ring(self._ask)

    def wait_rung(self, timeout_ns: int) -> None:
        """Until it answers. A ring meant for another limit's question ends the wait, too: who waits looks again."""
        if self._poll.poll(max(1, min(_LONGEST_WAIT_NS, timeout_ns) // 1_000_000)):
            try:
                doorbell.wait(self._answer)
            except BlockingIOError:  # another thread took it; its own look comes first, then it waits again
                pass


class Limits:
    """The seats of one worker. ``names``: which limit has which seat; ``monitors``: those that this process made."""

    def __init__(self, words: memoryview, monitors: Sequence[LimitMonitor], names: Sequence[str], bells: Bells) -> None:
        self._bells = bells
        self._seats: list[WorkerSeat] = []
        by_name = {monitor.spec.name: monitor for monitor in monitors}
        ring_bytes = int(words[layout.RING_SIZE])
        for number, name in enumerate(names):
            monitor = by_name.get(name)
            if monitor is None:
                raise InvariantError(
                    f"rate limit {name!r} was described but is not made here: the provider's module does not make "
                    "the same limits each time it is imported; give them name=..."
                )
            at = layout.seat_at(ring_bytes, number)
            seat = WorkerSeat(words[at : at + layout.SEAT_WORDS], bells, measured=monitor.spec.metered)
            monitor.attach(seat)
            self._seats.append(seat)

    def give_back(self) -> None:
        """Nothing to do here: somebody else may have what is left."""
        returned = [seat.give_back() for seat in self._seats]
        if any(returned):
            self._bells.ring()
