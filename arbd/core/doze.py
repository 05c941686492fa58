"""How long a process waits before it looks again, with nobody ringing it until then.

    asleep ──bell──> look ──found something──> (a turn of the loop) ──> look again ──nothing──> rest, or back to sleep
                                                └────────── after the rest ──────┘

A side that says it sleeps is rung for everything that is published; a ring costs whoever gives it 10 to 20 µs, and the
one that is woken a turn of its loop. While nothing would come of looking sooner, it *rests* instead: it looks by itself
after a while, once for all that has come meanwhile. Measured on two cores: unary tasks/s 0.92 of the bare loop instead
of 0.84; over the stream, with tasks of 0.3 ms, 23 % more, and 87 µs of CPU per task in supervisor and hub instead of
147.

Every threshold of such waits stands here. Pure; times are seconds of a monotonic clock.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

TICK_S: Final = 0.001
"""The shortest time that uvloop can measure, and the shortest rest."""
BUSY_RESULTS: Final = 8
"""Results under way to the hub from which on it is busy: one at a time there is one, 5 ms tasks have two."""
MOST_EMPTY_LOOKS: Final = 3
"""So many looks find nothing, one after the other: there is no load any more."""
LINK_REST_S: Final = 0.002
"""How long a link process rests while the hub is busy with its results."""
MOST_LINK_RESTS: Final = 50
"""Then it sleeps once, each 0.1 s: to the supervisor a link process that never does is one that hangs."""
WORTH: Final = 96
"""Tasks and acknowledgements beside which a wake-up of the supervisor, and by it of links and workers, costs little."""
LOAD_PER_S: Final = 1000
"""Tasks and acknowledgements: at 500 tasks a second a wake-up for each would take 5 % of a CPU."""
LONGEST_S: Final = 0.016
"""A result waits so long behind others at most; a hub that is busy takes longer than that for those before it."""


class SupervisorLoad(Protocol):
    """The load of the supervisor, as far as it matters for how long to rest."""

    def hub_is_busy(self) -> bool:
        """Whether results of short tasks pile up before a hub that takes them one by one."""

    def workers_are_busy(self, duration_ns: int) -> bool:
        """Whether each worker has enough in its ring for that long."""

    def links_have_slots(self) -> bool:
        """Whether there are link processes, and each has as much room for tasks as keeps it busy."""


class Doze:
    """The supervisor's decision after each look.

    With link processes a rest adapts itself: one wake-up is to serve about ``WORTH`` tasks and acknowledgements.

        a look found  > 2 * ``WORTH``      a tick less, at least one
                      < ``WORTH``          a tick longer, at most ``LONGEST_S``
                      < ``LOAD_PER_S``     a tick less: so few cost the supervisor little anyway
                      nothing any more     one tick again: there is no load
    """

    def __init__(self) -> None:
        self.rest_s = TICK_S  # while link processes have all the room they can use
        self._empty_looks = 0
        self._brought = 0
        self._since = -math.inf

    def found(self) -> None:
        """Note that a look found something."""
        self._empty_looks = 0

    def brought(self, count: int, now: float) -> None:
        """Note how many tasks and acknowledgements link processes brought. Looks that come sooner than planned count
        towards the next one."""
        self._brought += count
        waited_s = now - self._since
        if waited_s < self.rest_s:
            return
        if self._brought > 2 * WORTH or self._brought < LOAD_PER_S * waited_s:
            self.rest_s = max(TICK_S, self.rest_s - TICK_S)
        elif self._brought < WORTH:
            self.rest_s = min(LONGEST_S, self.rest_s + TICK_S)
        self._brought = 0
        self._since = now

    def after_nothing(self, load: SupervisorLoad) -> float:
        """Decide, after a look that found nothing, how many seconds to rest; 0: sleep until rung."""
        self._empty_looks += 1
        if self._empty_looks <= MOST_EMPTY_LOOKS:
            if load.hub_is_busy():
                return self.rest_s if load.links_have_slots() else TICK_S
            if load.workers_are_busy(round(TICK_S * 1e9)):
                return TICK_S
        self.rest_s = TICK_S
        self._since = -math.inf
        return 0.0
