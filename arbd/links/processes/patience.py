"""How long the supervisor lets results and tasks wait for each other, so that one wake-up serves many.

    a look found  > 2 * ``WORTH``      a millisecond less, at least the shortest
                  < ``WORTH``          a millisecond longer, at most ``LONGEST_S``
                  < ``LOAD_PER_S``     a millisecond less: so few cost the supervisor little anyway
                  nothing any more     the shortest again: there is no load

Looks that come sooner, because the supervisor was awake anyway, count towards the next one.

Pure; times are seconds of a monotonic clock. Not whether to wait at all: that is decided where the looks are, in
``group`` and ``arbd.supervisor.results``.
"""

from __future__ import annotations

import math
from typing import Final

from arbd.links.base import PATIENCE_S

WORTH: Final = 96
"""Tasks and acknowledgements beside which a wake-up of the supervisor, and by it of links and workers, costs little."""
LOAD_PER_S: Final = 1000
"""Tasks and acknowledgements: at 500 tasks a second a wake-up for each would take 5 % of a CPU."""
LONGEST_S: Final = 0.016
"""A result waits so long behind others at most; a hub that is busy takes longer than that for those before it."""


class Patience:
    """``seconds`` is how long to wait now."""

    def __init__(self) -> None:
        self.seconds = PATIENCE_S
        self._count = 0
        self._since = -math.inf

    def found(self, count: int, now: float) -> None:
        """So many tasks and acknowledgements were there at a look."""
        self._count += count
        waited_s = now - self._since
        if waited_s < self.seconds:
            return
        if self._count > 2 * WORTH or self._count < LOAD_PER_S * waited_s:
            self.seconds = max(PATIENCE_S, self.seconds - PATIENCE_S)
        elif self._count < WORTH:
            self.seconds = min(LONGEST_S, self.seconds + PATIENCE_S)
        self._count = 0
        self._since = now

    def reset(self) -> None:
        """Nothing is waited for any more."""
        self.seconds = PATIENCE_S
        self._since = -math.inf
