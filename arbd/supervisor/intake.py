"""From the hub into the rings: check what can be checked from outside, then dispatch.

    link.on_task ─> refuse? ──yes──> verdict        unknown action, too large: no worker needs to see it
                       └──no──> dispatcher ─> pool.send ─> task ring

Books that can wait are kept while the worker wakes up. A task that cannot be handed to its worker, because there is no
descriptor or memory for it, goes back in line and is tried again; for ``_PUT_OFF_S``, then it is told so.

Whatever is raised in here, each task that came has its verdict or is with the dispatcher.

Payloads are opaque here. This is also the port through which a link sees the daemon.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from arbd.core.dispatch import Assignment, Dispatcher
from arbd.core.outbox import Outbox
from arbd.ipc.ring import RingCorruptError
from arbd.model.description import ActionInfo, Description
from arbd.model.response import (
    ProviderResponse,
    aborted,
    action_not_found,
    cancelled,
    error,
    expired,
    no_resources,
    payload_too_large,
)
from arbd.model.task import Task
from arbd.settings.table import Settings
from arbd.supervised import report
from arbd.supervisor.cancels import Cancels
from arbd.supervisor.limits.hold import Hold
from arbd.supervisor.pool import Pool
from arbd.supervisor.relief import Relief
from arbd.supervisor.verdicts import Verdicts
from arbd.supervisor.watch import Watch

# An id travels in the ring even where the payload goes by reference: it must fit the smallest ring in any language.
_MAX_ID_CHARS: Final = 1000
_RETRY_S: Final = 0.05  # until a task that could not be handed over is tried again, if nothing happens before
_PUT_OFF_S: Final = 5.0
_EPISODE_S: Final = 1.0  # with a longer pause between two tries there was no worker with room, which is another matter


class _PutOff(NamedTuple):
    """The first in line, which could not be handed over: since when, and when it was tried last (monotonic seconds)."""

    assignment: Assignment
    since: float
    tried_at: float


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
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._put_off: _PutOff | None = None

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
        refused = False
        left = iter(tasks)
        try:
            for task in left:
                timeout = self._timeout_of(task)
                if isinstance(timeout, ProviderResponse):
                    self._verdicts.decide(task, timeout)
                    refused = True
                    continue
                placed = self._dispatcher.place(task, timeout, worker_id)
                if placed is not None and self._send(*placed):
                    worker_id, assignment = placed
                    sent.add(worker_id)
                    shortest = min(shortest, assignment.timeout)
        except BaseException:
            self._abandon(task, left)
            raise
        finally:
            self._wake(sent, shortest)
        if refused:
            self._verdicts.announce()

    def _abandon(self, task: Task, others: Iterable[Task]) -> None:
        """Something unexpected happened at this task, and these were to come after it: the daemon is about to end."""
        is_settled = self._dispatcher.has_task(task) or self._verdicts.has_kept(task)
        for each in others if is_settled else (task, *others):
            try:
                self._verdicts.decide(each, aborted(each.action))
            except Exception as error:  # the others get theirs all the same
                report(error, "tasks that came when something unexpected happened")
        self._verdicts.announce()

    def on_cancel(self, task_ids: Sequence[str]) -> None:
        """Nobody wants these results any more."""
        self._cancels.cancel(task_ids)

    def _timeout_of(self, task: Task) -> float | ProviderResponse:
        """How long a task that has just come may run, or why it is refused."""
        if self._closed:
            return aborted(task.action)
        if len(task.id) > _MAX_ID_CHARS:
            return error(f"The task's id has {len(task.id)} characters; this provider takes at most {_MAX_ID_CHARS}")
        limit = self._settings.max_payload
        if len(task.payload) > limit:
            return payload_too_large(len(task.payload), limit)
        if len(task.account) > limit:
            return payload_too_large(len(task.account), limit, "account")
        return self._time_left(task)

    def _time_left(self, task: Task) -> float | ProviderResponse:
        """How long it may run from now on, not beyond the moment from which nobody wants its result; or why it may not
        run: there is no such action, perhaps since a reload, or that moment has come."""
        timeout = self._timeouts.get(task.action)
        if timeout is None:
            return action_not_found(task.action, list(self._timeouts))
        if task.deadline == math.inf:
            return timeout
        left = task.deadline - time.monotonic()
        return min(timeout, left) if left > 0 else expired(task.action)

    def pump(self) -> None:
        """Send what can be sent."""
        dispatcher, sent = self._dispatcher, set[int]()
        shortest, worker_id = math.inf, None
        refused = False
        try:
            while (chosen := dispatcher.next_assignment(worker_id)) is not None:
                worker_id, assignment = chosen
                if (refusal := self._late_refusal(assignment)) is not None:
                    dispatcher.finish(worker_id, assignment.seq, None)
                    self._verdicts.decide(assignment.task, refusal)
                    refused = True
                elif self._send(worker_id, assignment):
                    sent.add(worker_id)
                    shortest = min(shortest, assignment.timeout)
                else:
                    break  # the next result makes room, and pumps again; or the timer does
        finally:
            self._wake(sent, shortest)
        if refused:
            self._verdicts.announce(slots_changed=True)

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
        except OSError as error:  # it can never be handed over, for example under a limit of the size of files
            self._dispatcher.finish(worker_id, assignment.seq, None)
            self._verdicts.decide(assignment.task, no_resources(assignment.task.action, str(error)))
            self._loop.call_soon(partial(self._verdicts.announce, slots_changed=True))
            self._try_soon()
            return False
        except BaseException:
            self._dispatcher.undo(worker_id, assignment)
            raise
        self._dispatcher.undo(worker_id, assignment)
        self._try_again_later(assignment)
        return False

    def _try_again_later(self, assignment: Assignment) -> None:
        now = time.monotonic()
        put_off = self._put_off
        if put_off is None or put_off.assignment is not assignment or now - put_off.tried_at > _EPISODE_S:
            self._put_off = _PutOff(assignment, now, now)
        else:
            self._put_off = put_off._replace(tried_at=now)
        self._try_soon()

    def _try_soon(self) -> None:
        if self._retry is None:
            self._retry = self._loop.call_later(_RETRY_S, self._on_retry)

    def _on_retry(self) -> None:
        self._retry = None
        self.pump()

    def _is_put_off_for_good(self, assignment: Assignment) -> bool:
        put_off = self._put_off
        if put_off is None or put_off.assignment is not assignment:
            return False
        return put_off.tried_at - put_off.since > _PUT_OFF_S

    def _late_refusal(self, assignment: Assignment) -> ProviderResponse | None:
        """What may have changed while it waited, here or at a worker that died with it in its ring."""
        task = assignment.task
        if assignment.cancelled:
            return cancelled(task.action)
        if self._is_put_off_for_good(assignment):
            return no_resources(task.action, "the provider has had no memory or descriptor for it")
        timeout = self._time_left(task)
        if isinstance(timeout, ProviderResponse):
            return timeout
        if task.deadline != math.inf:
            assignment.timeout = timeout  # less than when it was offered
        return None

    def close(self) -> None:
        """At the end of a drain: what may still come is told that it will not be run."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
