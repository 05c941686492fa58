"""Where a task was that ran into its deadline: a line of the log, ``task_stack``, seldom.

    its deadline struck in it     the worker says where it was (``notice.Stopped``)      struck=stopped
    it is about to be killed      its worker is asked, for at most ``WAIT_S``, before    struck=killed
                                  it is judged; told once it was killed

One per action and ``EVERY_S``, and a few within a second, the others are counted: thousands of time-outs do not flood
the log, and do not hold the event loop up. A worker on a CPU of its own answers in 0.2 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from arbd.core.dispatch import Assignment
from arbd.host import process_facts
from arbd.logs import get_logger, task_fields
from arbd.logs.seldom import Seldom
from arbd.logs.stack_lines import of_action
from arbd.model.task import Task
from arbd.supervisor.worker import Worker

EVERY_S: Final = 10.0  # of one action
WAIT_S: Final = 0.003
_MOST_IN_A_SECOND: Final = 4
_PAUSE_S: Final = 0.0002


class TaskStacks:
    """The stacks of tasks that were stopped or killed. Time is seconds of the monotonic clock."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._seldom = Seldom(EVERY_S, _MOST_IN_A_SECOND)
        self._log = get_logger("arbd.watch")

    def take(self, worker: Worker, assignment: Assignment) -> str | None:
        """Where it is, before it is known whether it must be killed; ``None``: not this time. Never raises ``OSError``:
        the kill comes whatever is found."""
        if not self._seldom.is_due(assignment.task.action, self._clock()):
            return None
        try:
            return self._ask(worker)
        except OSError as error:
            return f"(not known: {error.strerror or error})"

    def tell(self, worker: Worker, assignment: Assignment, stack: str | None) -> None:
        """It was killed."""
        task = assignment.task
        if stack is None:
            self._seldom.leave_out(task.action)
            return
        self._write(worker, task, "killed", stack)

    def stopped(self, worker: Worker, assignment: Assignment, stack: str) -> None:
        """Its deadline struck inside it, there."""
        action = assignment.task.action
        if self._seldom.is_due(action, self._clock()):
            self._write(worker, assignment.task, "stopped", stack)
        else:
            self._seldom.leave_out(action)

    def _write(self, worker: Worker, task: Task, struck: str, stack: str) -> None:
        left_out = self._seldom.write(task.action, self._clock())
        self._log.warning(
            "task_stack",
            **task_fields(task.id, task.action, task.traceparent, task.attempt),
            worker=worker.slot,
            pid=worker.pid,
            struck=struck,
            not_told=left_out,
            stack=stack,
        )

    def _ask(self, worker: Worker) -> str:
        dump, until = worker.stacks, self._clock() + WAIT_S
        trouble = dump.ask(worker.pid, worker.send_signal)
        while trouble is None and self._clock() < until:
            self._sleep(_PAUSE_S)
            if dump.is_done(worker.pid):
                break
        trouble = trouble or dump.why_not(worker.pid)
        if trouble is None:
            return of_action(dump.text())
        return "\n".join(filter(None, [f"({trouble})", of_action(dump.text()), process_facts.where(worker.pid)]))
