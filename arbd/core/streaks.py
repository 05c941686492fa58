"""Which worker fails an action over and over that others do well: it is broken, whatever broke it. Pure.

    an action fails              its answers are counted by worker from here on, successes up, failures down
    the other kind comes next    the count of that worker begins anew
    ``LENGTH`` failures in a     broken: so a worker is called only where the action, and its payloads, are not to blame
    row, and ``LENGTH``
    successes in another
    no worker fails it any more  nothing is counted

An action that fails by the half, by chance, would have a worker called broken once in 10 ** 12 answers.
"""

from __future__ import annotations

from typing import Final

LENGTH: Final = 20
_MOST_ACTIONS: Final = 1000


class Streaks:
    """The answers in a row of each worker, for actions that fail. ``watched``: whether there are any, asked for each
    answer."""

    def __init__(self) -> None:
        self.watched: dict[str, dict[int, int]] = {}

    def note(self, action: str, worker_id: int, *, failed: bool) -> bool:
        """Note an answer; whether its worker is broken. That is said once for each row of failures."""
        streaks = self.watched.get(action)
        if streaks is None:
            if not failed:
                return False
            if len(self.watched) >= _MOST_ACTIONS:
                self.watched.clear()
            streaks = self.watched[action] = {}
        before = streaks.get(worker_id, 0)
        streak = min(before, 0) - 1 if failed else min(max(before, 0) + 1, LENGTH)
        streaks[worker_id] = streak
        if failed:
            return streak <= -LENGTH and self._is_done_well_elsewhere(streaks, worker_id)
        if before <= 0 and all(count >= 0 for count in streaks.values()):
            del self.watched[action]
        return False

    def _is_done_well_elsewhere(self, streaks: dict[int, int], worker_id: int) -> bool:
        if max(streaks.values()) < LENGTH:
            return False
        streaks[worker_id] = 0
        return True

    def forget(self, worker_id: int) -> None:
        """Forget a worker that is gone."""
        for action, streaks in list(self.watched.items()):
            if streaks.pop(worker_id, 1) <= 0 and all(count >= 0 for count in streaks.values()):
                del self.watched[action]
