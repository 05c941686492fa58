"""From the hub into the rings: check what can be checked from outside, then dispatch.

    link.on_task ─> refuse? ──yes──> verdict        unknown action, too large: no worker needs to see it
                       └──no──> dispatcher ─> pool.send ─> task ring

Books that can wait are kept while the worker wakes up.

Payloads are opaque here. This is also the port through which a link sees the daemon.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Final

from arbd.config import Settings
from arbd.core.dispatch import Assignment, Dispatcher
from arbd.core.outbox import Outbox
from arbd.core.ring import RingCorruptError
from arbd.description import ActionInfo, Description
from arbd.model import Task
from arbd.response import ProviderResponse, aborted, action_not_found, cancelled, error, expired, payload_too_large
from arbd.supervisor.cancels import Cancels
from arbd.supervisor.hold import Hold
from arbd.supervisor.pool import Pool
from arbd.supervisor.relief import Relief
from arbd.supervisor.verdicts import Verdicts
from arbd.supervisor.watch import Watch

# An id travels in the ring even where the payload goes by reference: it must fit the smallest ring in any language.
_MAX_ID_CHARS: Final = 1000


class Intake:
    """Takes tasks over from a hub link."""

    def __init__(
        self,
        settings: Settings,
        dispatcher: Dispatcher,
        pool: Pool,
        watch: Watch,
        verdicts: Verdicts,
        outbox: Outbox,
        hold: Hold,
        cancels: Cancels,
        relief: Relief,
    ) -> None:
        self.outbox = outbox
        self._settings = settings
        self._dispatcher = dispatcher
        self._pool = pool
        self._watch = watch
        self._verdicts = verdicts
        self._hold = hold
        self._cancels = cancels
        self._relief = relief
        self.actions: Sequence[ActionInfo] = ()
        self._timeouts: dict[str, float] = {}
        self._closed = False

    def set_actions(self, description: Description) -> None:
        """What can be run from now on. Tasks that wait for an action that is gone are told so."""
        default = self._settings.execution_timeout
        self.actions = description.actions
        self._timeouts = {action.name: action.timeout or default for action in description.actions}
        self._watch.set_shortest(min(self._timeouts.values(), default=default))
        for assignment in self._dispatcher.drop_backlog():
            if assignment.cancelled:
                self._verdicts.give(assignment.task, cancelled(assignment.task.action))
            else:
                self.on_task(assignment.task)

    def free_slots(self) -> int:
        """How many more tasks could start soon; none while too many results wait for the hub."""
        if len(self.outbox) >= self._settings.outbox_limit:
            return 0
        return min(self._dispatcher.free_slots(), self._hold.room())

    def has_idle_worker(self) -> bool:
        """Whether some worker has nothing to do at this moment."""
        return self._dispatcher.has_idle_worker()

    def on_task(self, task: Task) -> None:
        """Take one task over."""
        self.on_tasks((task,))

    def on_tasks(self, tasks: Sequence[Task]) -> None:
        """Take tasks over, and send them on together."""
        sent: set[int] = set()
        shortest, worker_id = math.inf, None
        for task in tasks:
            if (refusal := self._refusal(task)) is not None:
                self._verdicts.give(task, refusal)
                continue
            placed = self._dispatcher.place(task, self._timeout_of(task), worker_id)
            if placed is not None and self._send(*placed):
                worker_id, assignment = placed
                sent.add(worker_id)
                shortest = min(shortest, assignment.timeout)
        self._wake(sent, shortest)

    def on_cancel(self, task_ids: Sequence[str]) -> None:
        """Nobody wants these results any more."""
        self._cancels.cancel(task_ids)

    def _timeout_of(self, task: Task) -> float:
        """How long it may run: not beyond the moment from which nobody wants its result."""
        timeout = self._timeouts[task.action]
        return timeout if task.deadline == math.inf else min(timeout, task.deadline - time.monotonic())

    def _refusal(self, task: Task) -> ProviderResponse | None:
        if self._closed:
            return aborted(task.action)
        if task.action not in self._timeouts:
            return self._not_found(task)
        if task.deadline != math.inf and task.deadline <= time.monotonic():
            return expired(task.action)
        if len(task.id) > _MAX_ID_CHARS:
            return error(f"The task's id has {len(task.id)} characters; this provider takes at most {_MAX_ID_CHARS}")
        limit = self._settings.max_payload
        if len(task.payload) > limit:
            return payload_too_large(len(task.payload), limit)
        if len(task.account) > limit:
            return payload_too_large(len(task.account), limit, "account")
        return None

    def _not_found(self, task: Task) -> ProviderResponse:
        return action_not_found(task.action, list(self._timeouts))

    def pump(self) -> None:
        """Send what can be sent."""
        dispatcher, sent = self._dispatcher, set[int]()
        shortest, worker_id = math.inf, None
        while (chosen := dispatcher.next_assignment(worker_id)) is not None:
            worker_id, assignment = chosen
            if (refusal := self._late_refusal(assignment)) is not None:
                dispatcher.finish(worker_id, assignment.seq, None)
                self._verdicts.give(assignment.task, refusal)
            elif self._send(worker_id, assignment):
                sent.add(worker_id)
                shortest = min(shortest, assignment.timeout)
            else:
                break  # the next result makes room, and pumps again
        self._wake(sent, shortest)

    def _wake(self, sent: set[int], shortest: float) -> None:
        """These workers were sent something; ``shortest`` is the shortest timeout of it, in seconds."""
        if sent:
            self._pool.wake(sent)
            self._watch.on_dispatch(shortest)  # while the worker wakes up
            self._relief.on_dispatch(sent)

    def _send(self, worker_id: int, assignment: Assignment) -> bool:
        """Whether it is in the worker's ring; if not, it waits again."""
        try:
            if self._pool.send(worker_id, assignment):
                return True
        except RingCorruptError as error:
            self._dispatcher.close_worker(worker_id)
            self._pool.give_up(self._pool.workers[worker_id], "task_ring_unreadable", str(error))
        self._dispatcher.undo(worker_id, assignment)
        return False

    def _late_refusal(self, assignment: Assignment) -> ProviderResponse | None:
        """What may have changed while it waited, here or at a worker that died with it in its ring."""
        task = assignment.task
        if assignment.cancelled:
            return cancelled(task.action)
        if task.action not in self._timeouts:
            return self._not_found(task)  # a reload has taken its action away
        if task.deadline != math.inf:
            if task.deadline <= time.monotonic():
                return expired(task.action)
            assignment.timeout = self._timeout_of(task)  # less than when it was offered
        return None

    def close(self) -> None:
        """At the end of a drain: what no worker has begun, and what may still come, is told that it will not be."""
        self._closed = True
        for assignment in self._dispatcher.drop_backlog():
            self._verdicts.give(assignment.task, aborted(assignment.task.action))
