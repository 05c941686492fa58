"""What ends a task other than its answer, while a worker has it; and the ritual that makes it exact.

A worker may finish, and begin an innocent task, in the very moment in which it is judged. So each of these goes::

    mark its cell ─> fence ─> what does it run? ─> collect its answers ─> compare

    kill       STOP: it begins nothing else    still runs that task: SIGKILL, and the task's verdict; else the mark goes
    kill_idle  STOP: the same                  runs none of its tasks: SIGKILL, and they go back in line when it is gone
    take_back  skip what lies before here      all but the task it runs go back to the front of the line
    pause      the same, for all               likewise, and those of the paused action wait for the end of the pause
    abort      STOP, for all                   SIGKILL, its last answers, and ABORTED for what is left

The task announced last before the fence is left with the worker, and those before it have their answers in the ring. A
task announced after the fence sees the mark. After a take-back the one that is left may have seen it just as well; but
the worker says of every task it skips that it did, and that one goes back in line then. So each task is begun once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from arbd.core.dispatch import Assignment
from arbd.core.history import Why
from arbd.core.lifecycle import State
from arbd.ipc import layout
from arbd.ipc.cell import Running
from arbd.logs import get_logger, task_fields
from arbd.logs.notable import note
from arbd.model.response import ProviderResponse, aborted
from arbd.supervised import report
from arbd.supervisor.flow import Flow
from arbd.supervisor.worker import Worker

RETRY_S: Final = 0.05
_KILLED_S: Final = 1.0  # for all workers together: SIGKILL takes well under a millisecond


def _halt(flow: Flow, worker: Worker, mark: Callable[[], None]) -> Running | None:
    """Mark, fence, read, collect; what the worker ran after the mark. ``None``: its ring could not be read, and it has
    been killed for that."""
    mark()
    flow.pool.fence()
    running = worker.cell.running()
    flow.collect_from(worker)
    return None if worker.state is State.CONDEMNED else running


def kill(
    flow: Flow,
    worker: Worker,
    assignment: Assignment,
    *,
    unheard: bool = False,
    verdict: ProviderResponse | None = None,
    why: Why | None = None,
) -> bool:
    """Kill the worker if it runs this task at this moment, and give the task its verdict; otherwise do nothing.

    ``verdict``, ``why``: what the task is told, and what is noted, where it was not late or cancelled. ``unheard``: its
    page is not asked; it is enough that it has not answered. ``False`` if it cannot be judged yet: it has answered, and
    there was no descriptor to take the answer. Then ask again after ``RETRY_S``.
    """
    stack = flow.task_stacks.take(worker, assignment)  # before it is judged: it may end meanwhile
    try:
        if _halt(flow, worker, partial(worker.cell.condemn, layout.STOP)) is None:
            return True
    except BaseException:  # at one of its answers: the others that it has are not to pay for that
        _go_on(worker)
        raise
    has_it = assignment.seq in flow.dispatcher.outstanding(worker.id)
    if verdict is not None and worker.said_leaving:
        has_it = False  # it skips that task, and is as it is for what ran before
    if worker.unread or not has_it or not (unheard or worker.cell.running().is_for(assignment.seq)):
        _go_on(worker)
        return not worker.unread
    task = assignment.task
    note(
        get_logger("arbd.watch"),
        "warning",
        "task_killed",
        **task_fields(task.id, task.action, task.traceparent, task.attempt),
        timeout=assignment.timeout,
        cancelled=assignment.cancelled,
        reason=why.detail if why else None,
        worker=worker.slot,
        pid=worker.pid,
    )
    flow.pool.note(worker, why or _why(assignment))
    flow.pool.kill(worker)
    flow.lose(worker, assignment, verdict)
    flow.task_stacks.tell(worker, assignment, stack)
    return True


def kill_idle(flow: Flow, worker: Worker) -> bool:
    """Kill a worker that hangs with tasks in its ring if it runs none of them at this moment; otherwise do nothing. It
    has begun none, so they go back in line when it is gone."""
    try:
        running = _halt(flow, worker, partial(worker.cell.condemn, layout.STOP))
    except BaseException:
        _go_on(worker)
        raise
    if running is None:
        return True
    has = flow.dispatcher.outstanding(worker.id)
    if worker.unread or worker.said_leaving or not has or running.seq in has:
        _go_on(worker)
        return False
    hint = "it takes none of the tasks that wait in its ring; it is killed, and others get them"
    get_logger("arbd.watch").warning("worker_wedged", worker=worker.slot, pid=worker.pid, tasks=len(has), hint=hint)
    flow.pool.note(worker, Why("wedged", "it took none of the tasks that waited in its ring"))
    flow.dispatcher.close_worker(worker.id)
    flow.pool.kill(worker)
    return True


def _why(assignment: Assignment) -> Why:
    if assignment.cancelled:
        return Why("cancelled", "its task was cancelled, and did not end", assignment.task.action)
    return Why("timeout", f"its task ran on after {assignment.timeout:g} s", assignment.task.action)


def _go_on(worker: Worker) -> None:
    """Take the mark away again."""
    if worker.state is not State.CONDEMNED:
        worker.cell.condemn(layout.LEAVE if worker.state in (State.RETIRING, State.LEAVING) else 0)


def take_back(flow: Flow, worker: Worker) -> None:
    """Put everything that this worker has not begun back in line; the caller pumps."""
    running = _halt(flow, worker, worker.cell.take_back)
    if running is None:
        return
    ran_ns = time.monotonic_ns() - running.since_ns if running.since_ns else 0
    flow.give_cancelled(flow.dispatcher.take_back(worker.id, running.seq, ran_ns))


def pause(flow: Flow, action: str) -> bool:
    """Begin no more tasks of this action; whether it was not paused before. Those that lie in rings are taken back,
    and wait for the end of the pause with the others."""
    is_new = flow.pause(action)
    for worker in list(flow.pool.workers.values()):
        if worker.state in (State.SERVING, State.RETIRING) and _has_of(flow, worker, action):
            _attempt(partial(take_back, flow, worker))
    flow.set_aside(action)
    flow.pump()
    return is_new


def _has_of(flow: Flow, worker: Worker, action: str) -> bool:
    if not flow.dispatcher.has_worker(worker.id):
        return False
    return any(each.task.action == action for each in flow.dispatcher.outstanding(worker.id).values())


def abort(flow: Flow) -> None:
    """End every task, because the daemon ends: kill each worker that has one, and give all of them their verdicts.

    A result that was published before the kill is a result. What fails at one of them is reported, and keeps none of
    the others from its verdict.
    """
    busy = [worker for worker in flow.pool.workers.values() if _has_tasks(flow, worker)]
    for worker in busy:
        worker.cell.condemn(layout.STOP)  # all at once, so that none begins another while the first are looked at
    for worker in busy:
        _attempt(partial(_halt, flow, worker, partial(worker.cell.condemn, layout.STOP)))
    left = [worker for worker in busy if _has_tasks(flow, worker)]
    for worker in left:
        if worker.state is not State.CONDEMNED:
            _attempt(partial(_tell_where, flow, worker))
            flow.dispatcher.close_worker(worker.id)
            _attempt(partial(flow.pool.kill, worker))
    until = time.monotonic() + _KILLED_S
    for worker in left:
        _attempt(partial(worker.wait_gone, max(0.0, until - time.monotonic())))
        _attempt(partial(flow.collect_from, worker))
    # Also what a dying worker had: nobody waits for its end, which would settle for it.
    for assignment in flow.dispatcher.drop_everything():
        _attempt(partial(_abort, flow, assignment))
    flow.announce()


def _tell_where(flow: Flow, worker: Worker) -> None:
    """Write to the log where the task is that this worker runs, and that is about to be aborted."""
    assignment = flow.dispatcher.outstanding(worker.id).get(worker.cell.running().seq)
    if assignment is not None:
        flow.task_stacks.tell(worker, assignment, flow.task_stacks.take(worker, assignment))


def _abort(flow: Flow, assignment: Assignment) -> None:
    task = assignment.task
    fields = task_fields(task.id, task.action, task.traceparent, task.attempt)
    get_logger("arbd.drain").warning("task_aborted", **fields)
    flow.decide(task, aborted(task.action))


def _attempt(step: Callable[[], object]) -> None:
    try:
        step()
    except Exception as error:
        report(error, "a step of the drain or a pause")


def _has_tasks(flow: Flow, worker: Worker) -> bool:
    return flow.dispatcher.has_worker(worker.id) and bool(flow.dispatcher.outstanding(worker.id))
