"""How long to try to hand a task over that no worker can be handed: there is no memory or no descriptor for it.

Only the first in line is tried, so it holds up all behind it. Not when to try: that is the caller's.
"""

from __future__ import annotations

from typing import Final

from arbd.core.dispatch import Assignment

GIVE_UP_S: Final = 5.0
_EPISODE_S: Final = 1.0  # with a longer pause between two tries there was no worker with room, which is another matter


class Stuck:
    """The task that could not be handed over at the last try, which was made at ``tried_at``. Times are seconds of a
    monotonic clock."""

    def __init__(self) -> None:
        self._assignment: Assignment | None = None
        self._since = 0.0
        self.tried_at = 0.0

    def tried(self, assignment: Assignment, now: float) -> None:
        """This one could not be handed over."""
        if assignment is not self._assignment or now - self.tried_at > _EPISODE_S:
            self._assignment = assignment
            self._since = now
        self.tried_at = now

    def is_given_up(self, assignment: Assignment) -> bool:
        """Whether this one was tried for so long that it should be told so."""
        return assignment is self._assignment and self.tried_at - self._since > GIVE_UP_S
