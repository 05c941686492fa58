"""How long the supervisor lets results and tasks wait for each other, so that one wake-up serves many.

    a look found  < ``WORTH``          a millisecond longer, at most ``LONGEST_S``
                  > 2 * ``WORTH``      a millisecond less
                  nothing any more     the shortest again: there is no load

Pure. Not whether to wait at all: that is decided where the looks are (``group``, ``arbd.supervisor.results``).
"""

from __future__ import annotations

from typing import Final

from arbd.hub.base import PATIENCE_S

WORTH: Final = 48
"""Records for which a wake-up of the supervisor, and by it of links and workers, is a small part of the cost."""
LONGEST_S: Final = 0.016
"""A result waits so long behind others at most; a hub that is busy takes longer than that for those before it."""


class Patience:
    """``seconds`` is how long to wait now."""

    def __init__(self) -> None:
        self.seconds = PATIENCE_S

    def found(self, records: int) -> None:
        """So many were there at a look."""
        if records < WORTH:
            self.seconds = min(LONGEST_S, self.seconds + PATIENCE_S)
        elif records > 2 * WORTH:
            self.seconds = max(PATIENCE_S, self.seconds - PATIENCE_S)

    def reset(self) -> None:
        """Nothing is waited for any more."""
        self.seconds = PATIENCE_S
