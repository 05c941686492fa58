"""How often each action was answered with which status, since the start of the daemon. Pure.

Only actions that are offered have a row of their own, so that callers cannot make rows by asking for names of their
own: all others share one. The sum over all rows never goes down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from arbd.model.task import STATUSES, Status


def _row() -> dict[Status, int]:
    return dict.fromkeys(STATUSES, 0)


class Tally:
    """The counts of one daemon. Whoever counts looks into ``rows`` himself, and takes ``others`` where there is no row,
    because that is done for each task; both stay the same objects."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Status, int]] = {}
        self.others = _row()  # of actions that are not offered, or not any more

    def offer(self, actions: Collection[str]) -> None:
        """Set which actions have a row from now on; those that had one keep it."""
        for action in self.rows.keys() - set(actions):
            for status, count in self.rows.pop(action).items():
                self.others[status] += count
        for action in actions:
            self.rows.setdefault(action, _row())

    def total(self) -> dict[Status, int]:
        """The sum of all rows."""
        total = _row()
        for row in (self.others, *self.rows.values()):
            for status, count in row.items():
                total[status] += count
        return total

    def __iter__(self) -> Iterator[tuple[str, dict[Status, int]]]:
        """Each action with its row, as the actions were offered; the others as ``""``, if there were any."""
        yield from self.rows.items()
        if any(self.others.values()):
            yield "", self.others
