"""The ids of all tasks under way: from their arrival until the hub has accepted their results. One id runs once.

    arrives ──new id──> runs ──> its result waits ──> accepted, or given up: the id is forgotten
       └──known id──> *joins* the first run: nothing more is run, and the one result answers for both

A hub hands an id out again when its lease is over while the task runs (the unary protocol renews none), when it has
lost count, or when a stream was broken in between. An id is all that a result names, so two runs would be two results
for one task. A hand-out with other contents under the same id joins, too. Tasks without an id are nobody's: they run.

``Brake``: what has joined costs nothing, so a hub that gives the same task to every poll would be asked without end.
Each hand-out that joins therefore keeps one slot from being asked for, for a moment that grows while that goes on.

Pure; times are nanoseconds of one monotonic clock.
"""

from __future__ import annotations

from typing import Final

import msgspec

from arbd.model.task import Task

_SHORTEST_LEASE_NS: Final = 100_000_000  # handed out again before that, it was no lease that ended
_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.5
_CALM_NS: Final = 250_000_000  # a hub that gave nothing twice for so long is not hammering


class Join(msgspec.Struct, frozen=True, gc=False):
    """A hand-out that joined the run of ``first``, ``after_ns`` after that had come. ``is_first``: of this id."""

    task: Task
    first: Task
    after_ns: int
    is_first: bool

    @property
    def is_another(self) -> bool:
        """Whether it is another task, to judge by all but its id."""
        task, first = self.task, self.first
        return (task.action, task.payload, task.account) != (first.action, first.payload, first.account)

    @property
    def lease_ns(self) -> int:
        """The hub's lease, as far as it shows here; 0: it does not."""
        return self.after_ns if self.is_first and self.after_ns >= _SHORTEST_LEASE_NS else 0


class UnderWay(dict[str, tuple[Task, int, bool]]):
    """The tasks under way by id: each with the moment of its arrival, and whether it was handed out again since.

    A dict, because it is written once for each task on the straight path: ``if id in under_way and id`` the task is to
    ``join``, else it is set here, and popped when the hub has its result. ``joins``: those that joined, until somebody
    has taken note; ``joined`` counts them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.joined = 0
        self.joins: list[Join] = []

    def join(self, task: Task, now_ns: int) -> None:
        """A task has come whose id is here."""
        first, since_ns, again = self[task.id]
        self.joins.append(Join(task, first, now_ns - since_ns, not again))
        self[task.id] = (first, since_ns, True)
        self.joined += 1

    def take_joins(self) -> list[Join]:
        """The hand-outs that have joined since this was asked last."""
        joins, self.joins = self.joins, []
        return joins


class Brake:
    """Slots that are not asked for, because what came for them was under way already: ``held``, for a moment."""

    def __init__(self) -> None:
        self.held = 0
        self._pause_s = _PAUSE_S
        self._ended_at_ns = -_CALM_NS

    def hold(self, slots: int, now_ns: int) -> float | None:
        """Keep so many back; the seconds after which to ``release`` them, or ``None`` if that is to come already."""
        was_held, self.held = self.held, self.held + slots
        if was_held:
            return None
        calm = now_ns - self._ended_at_ns >= _CALM_NS
        self._pause_s = _PAUSE_S if calm else min(_LONGEST_PAUSE_S, 2 * self._pause_s)
        return self._pause_s

    def release(self, now_ns: int) -> None:
        """Let them be asked for again."""
        self.held = 0
        self._ended_at_ns = now_ns
