"""The embedded hub's decisions: which task goes to whom, which verdict counts, what happened to each task.

Not a server: no I/O and no clock. Times are seconds of one monotonic clock and never go back.

               hand_out                        record_result
    QUEUED ──────────────> LEASED ──────────────────────────────> FINISHED
      ^  │                   │ ^ └─ renew                             ^
      │  │                   │ └─┘                                    │
      └──┼─ lease expired ───┘── lease expired, no attempts left ─────┤  (verdict by the board: LEASE_EXPIRED)
         │  or given back                                             │
         └── cancelled, or its time is over ──────────────────────────┘  (verdict by the board: CANCELLED, EXPIRED)

Invariants:

* a task is handed out only while QUEUED, so never to two providers at once unless a lease expired in between;
* the first verdict wins, also when it comes after its lease expired; later ones are recorded, not counted;
* a finished task never leaves FINISHED; every result of a batch is listed exactly once, in order of finishing;
* a task that is cancelled while LEASED gets its verdict from whoever has it, or when that lease ends.

Each operation is O(1), amortised (``queues``, ``leases``); O(log n) for tasks that have a time limit of their own.
Finished tasks beyond ``keep_finished`` are forgotten, oldest first.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from arbd.errors import ArbdError
from arbd.hub.leases import NOT_LEASED, Leases
from arbd.hub.queues import ANYBODY, TaskQueues
from arbd.model.task import STATUSES, Task


class NewTask(msgspec.Struct, frozen=True, gc=False):
    """A task to be submitted. ``id``: empty = the board makes one. ``provider``: empty = any provider.

    ``priority``: the higher one is handed out first. ``timeout``: seconds after which its result is worth nothing, 0 =
    no such time. ``traceparent``: W3C trace context.
    """

    action: str
    payload: bytes = b""
    account: bytes = b""
    id: str = ""
    provider: str = ANYBODY
    priority: int = 0
    timeout: float = 0.0
    traceparent: str = ""


class TaskEvent(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened to a task, ``at`` seconds of the board's clock.

    ``kind`` is one of: submitted, handed_out, renewed, given_back, expired, cancelled, result, result_late (its lease
    was over, it is the first verdict all the same), result_duplicate (not counted), gave_up.
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
    number: int
    batch: _Batch
    submitted_at: float
    events: list[TaskEvent]
    state: _State = _State.QUEUED
    attempts: int = 0
    holder: str = ""  # who had it last
    session: str = ""  # and through which stream session; empty: by a call
    lease_until: float = NOT_LEASED
    cancelled: bool = False

    @property
    def priority(self) -> int:
        return self.task.priority

    @property
    def is_queued(self) -> bool:
        return self.state is _State.QUEUED


class _Batch(msgspec.Struct, gc=True):
    name: str
    open: int = 0  # tasks not finished
    finished: int = 0  # tasks ever finished: the index of the next result
    forgotten: int = 0  # results 0 .. forgotten - 1 are gone
    results: dict[int, Result] = msgspec.field(default_factory=dict)


class TaskBoard:
    """All tasks of one embedded hub.

    ``lease_s``: how long a provider has a task before it goes to another. ``max_attempts``: by action name, how often a
    task is handed out before the board itself reports an error; actions not named are handed out for ever. ``run``
    becomes part of the ids it makes: give each start of a hub its own, because a provider may still send a result for a
    task of the last run.
    """

    def __init__(
        self,
        *,
        lease_s: float = 30.0,
        max_attempts: Mapping[str, int] | None = None,
        keep_finished: int = 200_000,
        run: str = "0",
    ) -> None:
        self._max_attempts = dict(max_attempts or {})
        self._keep_finished = keep_finished
        self._records: dict[str, _Record] = {}
        self._batches: dict[str, _Batch] = {}
        self._queues: TaskQueues[_Record] = TaskQueues()
        self._leases: Leases[_Record] = Leases(lease_s)
        self._deadlines: list[tuple[float, int, _Record]] = []  # heap
        self._finished: deque[_Record] = deque()
        self._finished_ever = 0
        self._made = itertools.count(1)
        self._numbers = itertools.count()
        self._run = run
        self.queued = 0

    @property
    def leased(self) -> int:
        """How many tasks are leased now."""
        return len(self._leases)

    @property
    def lease_s(self) -> float:
        """How long a lease lasts, in seconds."""
        return self._leases.length_s

    @property
    def finished(self) -> int:
        """How many tasks have got their verdict."""
        return self._finished_ever

    def leased_by(self) -> Counter[tuple[str, bool]]:
        """How many tasks each provider has now, by its name and whether they went over a stream. Looks at all."""
        return Counter((record.holder, bool(record.session)) for record in self._leases)

    def submit(self, tasks: Iterable[NewTask], now: float, batch: str = "") -> tuple[str, list[str]]:
        """Queue all ``tasks``, or none: a ``SubmitError`` names the first that cannot be. Returns batch name and ids.

        An unknown batch is made; an empty name asks for a new one. Without tasks a batch is finished at once.
        """
        named = [(new.id or self._new_name("t"), new) for new in tasks]
        self._check(named)
        name = batch or self._new_name("b")
        group = self._batches.setdefault(name, _Batch(name))
        for task_id, new in named:
            deadline = now + new.timeout if new.timeout > 0 else math.inf
            task = Task(task_id, new.action, new.payload, new.account, 1, deadline, new.traceparent, new.priority)
            record = _Record(task, new.provider, next(self._numbers), group, now, [TaskEvent(now, "submitted")])
            self._records[task_id] = record
            self._queues.push(record)
            if deadline is not math.inf:
                heapq.heappush(self._deadlines, (deadline, record.number, record))
        group.open += len(named)
        self.queued += len(named)
        return name, [task_id for task_id, _ in named]

    def hand_out(self, provider: str, now: float, session: str = "") -> Task | None:
        """The next task ``provider`` may have, leased to it; ``None`` if there is none.

        ``session``: the stream that can be told to cancel it.
        """
        record = self._queues.pop(provider)
        if record is None:
            return None
        record.state = _State.LEASED
        attempts = record.attempts = record.attempts + 1
        record.holder = provider
        record.session = session
        record.events.append(TaskEvent(now, "handed_out", provider, attempts))
        self._leases.begin(record, now)
        self.queued -= 1
        if attempts > 1:
            record.task = msgspec.structs.replace(record.task, attempt=attempts)
        return record.task

    def renew(self, task_id: str, session: str, now: float) -> bool:
        """Begin a task's lease anew; ``False`` if this session does not have it any more."""
        record = self._records.get(task_id)
        if record is None or record.state is not _State.LEASED or record.session != session:
            return False
        record.events.append(TaskEvent(now, "renewed", record.holder, record.attempts))
        self._leases.begin(record, now)
        return True

    def give_back(self, task_id: str, provider: str, now: float, session: str = "") -> bool:
        """Queue again, before all others, a task that did not reach its provider; ``False`` if that does not have
        it."""
        record = self._records.get(task_id)
        if record is None or record.state is not _State.LEASED:
            return False
        if record.holder != provider or record.session != session:
            return False
        record.events.append(TaskEvent(now, "given_back", provider, record.attempts))
        self._release(record, now, first=True)
        return True

    def cancel(self, task_id: str, now: float) -> bool:
        """Cancel a task; ``False``: it is finished already. Raises ``ForgottenError``.

        Whoever has it must be told by the caller: see ``session_of``.
        """
        record = self._record(task_id)
        if record.state is _State.FINISHED:
            return False
        record.cancelled = True
        record.events.append(TaskEvent(now, "cancelled", "", record.attempts))
        if record.state is _State.QUEUED:
            self._give_up(record, now, "CANCELLED", "Task was cancelled before it began")
        return True

    def record_result(self, task_id: str, provider: str, status: str, result: bytes, now: float) -> Receipt:
        """Record a provider's verdict. The first one wins."""
        record = self._records.get(task_id)
        if record is None or record.attempts == 0:
            return Receipt.UNKNOWN
        if status not in STATUSES:
            return Receipt.INVALID
        if record.state is _State.FINISHED:
            record.events.append(TaskEvent(now, "result_duplicate", provider, record.attempts, status))
            return Receipt.DUPLICATE
        kind = "result" if record.state is _State.LEASED else "result_late"
        self._finish(record, TaskEvent(now, kind, provider, record.attempts, status), result)
        return Receipt.ACCEPTED

    def next_expiry(self) -> float | None:
        """When ``expire`` has something to do next, at the earliest; ``None``: not before something happens."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][2].state is _State.FINISHED:
            heapq.heappop(deadlines)
        lease_end = self._leases.next_end()
        if not deadlines:
            return lease_end
        return deadlines[0][0] if lease_end is None else min(deadlines[0][0], lease_end)

    def expire(self, now: float) -> list[str]:
        """End the leases and the tasks whose time is over; returns the ids of tasks that are finished by that."""
        finished = []
        while self.next_expiry() is not None and self._deadlines and self._deadlines[0][0] <= now:
            record = heapq.heappop(self._deadlines)[2]
            self._give_up(record, now, "EXPIRED", "Task was not finished within its time")
            finished.append(record.task.id)
        while (ended := self._leases.pop_ended(now)) is not None:
            ended.events.append(TaskEvent(now, "expired", ended.holder, ended.attempts))
            self._release(ended, now, first=False)
            if ended.state is _State.FINISHED:
                finished.append(ended.task.id)
        return finished

    def history(self, task_id: str) -> list[TaskEvent]:
        """Everything that happened to a task, oldest first. Raises ``ForgottenError`` for an id never seen or gone."""
        return list(self._record(task_id).events)

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

    def session_of(self, task_id: str) -> str:
        """The stream session that had the task last; empty if it was not a stream."""
        return self._records[task_id].session

    def is_leased_to(self, task_id: str, session: str) -> bool:
        """Whether the task is leased to this stream session now."""
        record = self._records.get(task_id)
        return record is not None and record.state is _State.LEASED and record.session == session

    def wants(self, task_id: str) -> bool:
        """Whether a verdict on this task would still count."""
        record = self._records.get(task_id)
        return record is not None and record.state is not _State.FINISHED and not record.cancelled

    # -- the pieces ------------------------------------------------------------------------------------------

    def _check(self, named: list[tuple[str, NewTask]]) -> None:
        seen: set[str] = set()
        for task_id, _ in named:
            if task_id in self._records or task_id in seen:
                raise SubmitError(f"task id {task_id!r} is taken: leave the id empty, and the hub makes one")
            seen.add(task_id)

    def _new_name(self, kind: str) -> str:
        return f"{kind}-{self._run}-{next(self._made)}"

    def _record(self, task_id: str) -> _Record:
        record = self._records.get(task_id)
        if record is None:
            raise ForgottenError(f"task {task_id!r} is unknown: never submitted here, or finished long ago")
        return record

    def _batch(self, name: str) -> _Batch:
        group = self._batches.get(name)
        if group is None:
            raise ForgottenError(f"batch {name!r} is unknown: never submitted here, or finished long ago")
        return group

    def _release(self, record: _Record, now: float, *, first: bool) -> None:
        """Queue a task again that nobody has any more, or give it up if it was cancelled or handed out too often."""
        limit = self._max_attempts.get(record.task.action)
        if record.cancelled:
            self._give_up(record, now, "CANCELLED", "Task was cancelled, and never answered")
        elif not first and limit is not None and record.attempts >= limit:
            message = f"Task was handed out {record.attempts} times and never answered"
            self._give_up(record, now, "LEASE_EXPIRED", message)
        else:
            self._leases.end(record)
            record.state = _State.QUEUED
            self.queued += 1
            self._queues.push(record, first=first)

    def _give_up(self, record: _Record, now: float, code: str, message: str) -> None:
        response = {"status": "error", "message": message, "data": {"error_code": code}}
        event = TaskEvent(now, "gave_up", "", record.attempts, "error")
        self._finish(record, event, msgspec.json.encode(response))

    def _finish(self, record: _Record, event: TaskEvent, result: bytes) -> None:
        if record.state is _State.QUEUED:
            self.queued -= 1
        self._leases.end(record)
        record.state = _State.FINISHED
        self._finished_ever += 1
        record.events.append(event)
        task, group = record.task, record.batch
        taken_s = event.at - record.submitted_at
        group.results[group.finished] = Result(
            task.id, task.action, event.provider, event.status, result, record.attempts, taken_s
        )
        group.finished += 1
        group.open -= 1
        self._finished.append(record)
        if len(self._finished) > self._keep_finished:
            self._forget(self._finished.popleft())

    def _forget(self, record: _Record) -> None:
        del self._records[record.task.id]
        group = record.batch
        del group.results[group.forgotten]
        group.forgotten += 1
        if group.open == 0 and not group.results:
            self._batches.pop(group.name, None)
