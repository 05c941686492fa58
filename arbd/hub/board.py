"""The embedded hub's decisions: which task goes to whom, which verdict counts, what happened to each task.

Not a server: no I/O and no clock. Times are seconds of one monotonic clock and never go back.

               hand_out                        record_result
    QUEUED ──────────────> LEASED ──────────────────────────────> FINISHED
      ^                      │                                        ^
      └──── lease expired ───┘── lease expired, attempts used up ─────┘  (verdict by the board: LEASE_EXPIRED)
            or given back

Invariants:

* a task is handed out only while QUEUED, so never to two providers at once unless a lease expired in between;
* the first verdict wins, also when it comes after its lease expired; later ones are recorded, not counted;
* a finished task never leaves FINISHED; every result of a batch is listed exactly once, in order of finishing.

Each operation is O(1), amortised: one lease length for all makes the leases a queue, and a record that was finished
meanwhile is skipped when its turn comes. Finished tasks beyond ``keep_finished`` are forgotten, oldest first.
"""

from __future__ import annotations

import enum
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from arbd.errors import ArbdError
from arbd.model import STATUSES, Task

ANYBODY: Final = ""
"""The provider name of a task that any provider may have."""


class NewTask(msgspec.Struct, frozen=True, gc=False):
    """A task to be submitted. ``id``: empty = the board makes one. ``provider``: empty = any provider."""

    action: str
    payload: bytes = b""
    account: bytes = b""
    id: str = ""
    provider: str = ANYBODY


class Event(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened to a task, ``at`` seconds of the board's clock.

    ``kind`` is one of: submitted, handed_out, given_back, expired, result, result_late (its lease was over, it is
    the first verdict all the same), result_duplicate (not counted), gave_up.
    """

    at: float
    kind: str
    provider: str = ""
    attempt: int = 0
    status: str = ""


class Result(msgspec.Struct, frozen=True, gc=False):
    """The verdict on a task. ``result`` is JSON text; ``provider`` is empty when the board gave up on it."""

    id: str
    action: str
    provider: str
    status: str
    result: bytes
    attempts: int
    taken_s: float

    @property
    def response(self) -> dict[str, Any]:
        """The response dict. Raises ``msgspec.DecodeError`` if a provider sent something else."""
        return msgspec.json.decode(self.result, type=dict[str, Any])


class SubmitError(ArbdError):
    """Tasks that cannot be submitted: an id is taken."""


class ForgottenError(ArbdError):
    """The results asked for are no longer, or not, remembered."""


class Receipt(enum.Enum):
    """What became of a result that a provider sent."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # a verdict was there before
    UNKNOWN = "unknown"  # no such task, or nobody was ever given it
    INVALID = "invalid"  # a status that is none


class _State(enum.Enum):
    QUEUED = "queued"
    LEASED = "leased"
    FINISHED = "finished"


class _Record(msgspec.Struct, gc=True):
    task: Task
    provider: str  # who may have it
    batch: _Batch
    submitted_at: float
    events: list[Event]
    state: _State = _State.QUEUED
    attempts: int = 0
    holder: str = ""  # who had it last


class _Batch(msgspec.Struct, gc=True):
    name: str
    open: int = 0  # tasks not finished
    finished: int = 0  # tasks ever finished: the index of the next result
    forgotten: int = 0  # results 0 .. forgotten - 1 are gone
    results: dict[int, Result] = msgspec.field(default_factory=dict)


class TaskBoard:
    """All tasks of one embedded hub.

    ``lease_s``: how long a provider has a task for itself. ``max_attempts``: by action name, how often a task is
    handed out before the board itself reports an error; actions not named are handed out for ever.
    ``run`` becomes part of the ids it makes: give each start of a hub its own, because a provider may still send
    a result for a task of the last run.
    """

    def __init__(
        self,
        *,
        lease_s: float = 30.0,
        max_attempts: Mapping[str, int] | None = None,
        keep_finished: int = 200_000,
        run: str = "0",
    ) -> None:
        self._lease_s = lease_s
        self._max_attempts = dict(max_attempts or {})
        self._keep_finished = keep_finished
        self._records: dict[str, _Record] = {}
        self._batches: dict[str, _Batch] = {}
        self._queues: dict[str, deque[_Record]] = {}
        self._leases: deque[tuple[float, _Record, int]] = deque()
        self._finished: deque[_Record] = deque()
        self._made = itertools.count(1)
        self._run = run
        self.queued = 0
        self.leased = 0

    def submit(self, tasks: Iterable[NewTask], now: float, batch: str = "") -> tuple[str, list[str]]:
        """Queue all ``tasks``, or none: a ``SubmitError`` names the first that cannot be. Returns batch name and ids.

        An unknown batch is made; an empty name asks for a new one. Without tasks a batch is finished at once.
        """
        named = [(new.id or self._new_name("t"), new) for new in tasks]
        self._check(named)
        name = batch or self._new_name("b")
        group = self._batches.setdefault(name, _Batch(name))
        for task_id, new in named:
            task = Task(task_id, new.action, new.payload, new.account)
            record = _Record(task, new.provider, group, now, [Event(now, "submitted")])
            self._records[task_id] = record
            self._queue_of(record).append(record)
        group.open += len(named)
        self.queued += len(named)
        return name, [task_id for task_id, _ in named]

    def hand_out(self, provider: str, now: float) -> Task | None:
        """The oldest task ``provider`` may have, leased to it; ``None`` if there is none."""
        record = self._next_for(provider)
        if record is None:
            return None
        record.state = _State.LEASED
        record.attempts += 1
        record.holder = provider
        record.events.append(Event(now, "handed_out", provider, record.attempts))
        self._leases.append((now + self._lease_s, record, record.attempts))
        self.queued -= 1
        self.leased += 1
        return record.task

    def give_back(self, task_id: str, provider: str, now: float) -> None:
        """The answer that carried the task could not be delivered: queue it again, before all others."""
        record = self._records.get(task_id)
        if record is None or record.state is not _State.LEASED or record.holder != provider:
            return
        record.events.append(Event(now, "given_back", provider, record.attempts))
        self._requeue(record, first=True)

    def record_result(self, task_id: str, provider: str, status: str, result: bytes, now: float) -> Receipt:
        """A provider's verdict. The first one wins."""
        record = self._records.get(task_id)
        if record is None or record.attempts == 0:
            return Receipt.UNKNOWN
        if status not in STATUSES:
            return Receipt.INVALID
        if record.state is _State.FINISHED:
            record.events.append(Event(now, "result_duplicate", provider, record.attempts, status))
            return Receipt.DUPLICATE
        kind = "result" if record.state is _State.LEASED else "result_late"
        self._finish(record, Event(now, kind, provider, record.attempts, status), result)
        return Receipt.ACCEPTED

    def next_expiry(self) -> float | None:
        """When ``expire`` has something to do next, at the earliest; ``None``: not before a task is handed out."""
        self._drop_ended_leases()
        return self._leases[0][0] if self._leases else None

    def expire(self, now: float) -> list[str]:
        """End the leases that are over; returns the ids of tasks that are finished by that (no attempts left)."""
        given_up = []
        while (expiry := self.next_expiry()) is not None and expiry <= now:
            _, record, attempt = self._leases.popleft()
            record.events.append(Event(now, "expired", record.holder, attempt))
            limit = self._max_attempts.get(record.task.action)
            if limit is not None and attempt >= limit:
                self._give_up(record, now)
                given_up.append(record.task.id)
            else:
                self._requeue(record, first=False)
        return given_up

    def history(self, task_id: str) -> list[Event]:
        """Everything that happened to a task, oldest first. Raises ``ForgottenError`` for an id never seen or gone."""
        record = self._records.get(task_id)
        if record is None:
            raise ForgottenError(f"task {task_id!r} is unknown: never submitted here, or finished long ago")
        return list(record.events)

    def results(self, batch: str, skip: int = 0) -> Iterator[Result]:
        """The results of a batch from number ``skip`` on, in order of finishing, as far as there are any now."""
        group = self._batch(batch)
        if skip < group.forgotten:
            raise ForgottenError(
                f"batch {batch!r}: results {skip} to {group.forgotten - 1} were dropped "
                f"(the hub remembers {self._keep_finished} finished tasks)"
            )
        return map(group.results.__getitem__, range(skip, group.finished))

    def is_finished(self, batch: str) -> bool:
        """Whether every task of the batch has its verdict."""
        return self._batch(batch).open == 0

    def batch_of(self, task_id: str) -> str:
        """The batch a task belongs to."""
        return self._records[task_id].batch.name

    # -- the pieces ------------------------------------------------------------------------------------------

    def _check(self, named: list[tuple[str, NewTask]]) -> None:
        seen: set[str] = set()
        for task_id, _ in named:
            if task_id in self._records or task_id in seen:
                raise SubmitError(f"task id {task_id!r} is taken: leave the id empty, and the hub makes one")
            seen.add(task_id)

    def _new_name(self, kind: str) -> str:
        return f"{kind}-{self._run}-{next(self._made)}"

    def _batch(self, name: str) -> _Batch:
        group = self._batches.get(name)
        if group is None:
            raise ForgottenError(f"batch {name!r} is unknown: never submitted here, or finished long ago")
        return group

    def _queue_of(self, record: _Record) -> deque[_Record]:
        return self._queues.setdefault(record.provider, deque())

    def _next_for(self, provider: str) -> _Record | None:
        own = self._queue_head(provider)
        shared = self._queue_head(ANYBODY)
        shared_is_older = own and shared and shared.submitted_at < own.submitted_at
        chosen = shared if own is None or shared_is_older else own
        if chosen is not None:
            self._queue_of(chosen).popleft()
        return chosen

    def _queue_head(self, provider: str) -> _Record | None:
        queue = self._queues.get(provider)
        while queue:
            if queue[0].state is _State.QUEUED:
                return queue[0]
            queue.popleft()  # finished by a late result while it waited
        return None

    def _requeue(self, record: _Record, *, first: bool) -> None:
        record.state = _State.QUEUED
        self.leased -= 1
        self.queued += 1
        queue = self._queue_of(record)
        if first:
            queue.appendleft(record)
        else:
            queue.append(record)

    def _drop_ended_leases(self) -> None:
        leases = self._leases
        while leases and (leases[0][1].state is not _State.LEASED or leases[0][1].attempts != leases[0][2]):
            leases.popleft()

    def _give_up(self, record: _Record, now: float) -> None:
        message = f"Task was handed out {record.attempts} times and never answered"
        response = {"status": "error", "message": message, "data": {"error_code": "LEASE_EXPIRED"}}
        event = Event(now, "gave_up", "", record.attempts, "error")
        self._finish(record, event, msgspec.json.encode(response))

    def _finish(self, record: _Record, event: Event, result: bytes) -> None:
        if record.state is _State.LEASED:
            self.leased -= 1
        else:
            self.queued -= 1
        record.state = _State.FINISHED
        record.events.append(event)
        task, group = record.task, record.batch
        taken_s = event.at - record.submitted_at
        group.results[group.finished] = Result(
            task.id, task.action, event.provider, event.status, result, record.attempts, taken_s
        )
        group.finished += 1
        group.open -= 1
        self._finished.append(record)
        self._drop_ended_leases()
        if len(self._finished) > self._keep_finished:
            self._forget(self._finished.popleft())

    def _forget(self, record: _Record) -> None:
        del self._records[record.task.id]
        group = record.batch
        del group.results[group.forgotten]
        group.forgotten += 1
        if group.open == 0 and not group.results:
            self._batches.pop(group.name, None)
