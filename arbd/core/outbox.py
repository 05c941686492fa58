"""Finished results until the hub has accepted them.

Not a queue of attempts: when to try again is the hub link's decision. Invariants:

* an outcome appended is offered by ``take`` until it is acknowledged; nothing is dropped;
* an outcome is with at most one sender at a time: ``take`` hands it over, ``put_back`` or ``ack`` ends that;
* ``len(outbox)`` counts every outcome not yet acknowledged, so it bounds what a dead hub can pile up.

``Outbox`` is the interface; a durable one keeps the same four verbs.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from arbd.core.flight_recorder import AckLog
from arbd.core.tally import Tally
from arbd.core.under_way import UnderWay
from arbd.errors import InvariantError
from arbd.model.task import Outcome, Status, Task

_NOT_TAKEN: Final = "outbox: an outcome came back that no sender had taken"


class Outbox(Protocol):
    """What the results path and a hub link need of an outbox."""

    def append(self, outcome: Outcome) -> None:
        """Keep an outcome until it is acknowledged."""

    def take(self) -> Outcome | None:
        """Hand the oldest waiting outcome to a sender; ``None`` when none waits."""

    def put_back(self, outcome: Outcome) -> None:
        """The sender failed: offer this outcome again, before newer ones."""

    def ack(self, outcome: Outcome, now: float) -> None:
        """The hub has it, since that moment (``time.monotonic()``): forget it."""

    def __len__(self) -> int:
        """Outcomes not yet acknowledged, waiting or with a sender."""


class MemoryOutbox:
    """An outbox that lives as long as the supervisor. The ids of outcomes that are acknowledged are taken out of
    ``under_way``, and noted in ``acks``, which keeps none unless it is given."""

    def __init__(self, under_way: UnderWay | None = None, acks: AckLog | None = None) -> None:
        acks = AckLog() if acks is None else acks
        self._note_id, self._note_moment = acks.ids.append, acks.moments.append
        self._waiting: deque[Outcome] = deque()
        self._with_sender = 0
        self._under_way = UnderWay() if under_way is None else under_way

    def append(self, outcome: Outcome) -> None:
        self._waiting.append(outcome)

    def take(self) -> Outcome | None:
        if not self._waiting:
            return None
        self._with_sender += 1
        return self._waiting.popleft()

    def put_back(self, outcome: Outcome) -> None:
        if self._with_sender == 0:
            raise InvariantError(_NOT_TAKEN)
        self._with_sender -= 1
        self._waiting.appendleft(outcome)

    def ack(self, outcome: Outcome, now: float) -> None:
        if self._with_sender == 0:
            raise InvariantError(_NOT_TAKEN)
        self._with_sender -= 1
        task_id = outcome.task.id
        self._under_way.pop(task_id, None)
        self._note_id(task_id)
        self._note_moment(now)

    @property
    def first(self) -> Outcome | None:
        """What ``take`` would hand over."""
        return self._waiting[0] if self._waiting else None

    def __len__(self) -> int:
        return len(self._waiting) + self._with_sender


class Verdicts:
    """All verdicts on their way to the hub: those in the outbox, and those that it did not take.

    The latter are kept here and offered to it again, before newer ones: none is lost, and no task gets another one.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.kept: list[Outcome] = []
        self.tally = Tally()
        self._rows = self.tally.rows

    def __len__(self) -> int:
        """How many the hub has not yet accepted."""
        return len(self._outbox) + len(self.kept)

    @property
    def counts(self) -> dict[Status, int]:
        """How many verdicts of each status there were since the start."""
        return self.tally.total()

    @property
    def total(self) -> int:
        """How many verdicts there were since the start."""
        return sum(self.counts.values())

    def add(self, outcome: Outcome) -> None:
        """A task's verdict. Raises what the outbox raises; the verdict is kept then."""
        try:  # not `get`: for each task, that takes twice as long
            self._rows[outcome.task.action][outcome.status] += 1
        except KeyError:
            self.tally.others[outcome.status] += 1
        try:
            self._outbox.append(outcome)
        except BaseException:
            self.kept.append(outcome)
            raise

    def save_kept(self) -> bool:
        """Offer the outbox once more what it has not taken; whether it took all. Raises what is no ``OSError``."""
        while self.kept:
            try:
                self._outbox.append(self.kept[0])
            except OSError:
                return False
            del self.kept[0]
        return True

    def has_kept(self, task: Task) -> bool:
        """Whether the verdict of this very task is kept here."""
        return any(outcome.task is task for outcome in self.kept)
