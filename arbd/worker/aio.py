"""Execution of ``async def`` handlers: one event loop per worker, made when the first of them runs.

    awaitable ─> task ─> to its end, its deadline or its cancel ─> what it left on the loop is cancelled ─> result
                 └ its context names the action: whatever is made in it belongs to it (``arbd.worker.leftovers``)

A task runs to its end before the next begins, and nothing of it goes on with the next one. At its deadline, or when the
hub cancels the task, the action's coroutine is cancelled. The worker's timer is off meanwhile: raised inside the event
loop's own code it would break the loop for every later task. A coroutine that never yields is left to the kill.

The loop is never the one that ``asyncio.get_event_loop`` gives to actions that are not asynchronous. One that an action
has closed or stopped is replaced.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from arbd import logs
from arbd.errors import TaskCancelled, TaskTimeout
from arbd.host import own_stacks
from arbd.host.fork_mark import EVERYBODY, ForkMark
from arbd.interrupts import interruptible, uninterruptible
from arbd.logs.tasks import bind_nobody, bind_task
from arbd.worker import children
from arbd.worker.guard import signals
from arbd.worker.leftovers import Leftovers, first_iteration, shown
from arbd.worker.soft_timer import SoftTimer
from arbd.worker.thread_calls import BELONGS_TO
from arbd.worker.worker_loop import WorkerLoop

_MOST_TOLD: Final = 100
_STOP_S: Final = 1.0  # for a coroutine whose loop an action has stopped


class AsyncRunner:
    """The event loop of a worker; runs one awaitable at a time. ``spoil`` is told what an action has left that cannot
    be cancelled."""

    def __init__(
        self, timer: SoftTimer, *, here: ForkMark = EVERYBODY, spoil: Callable[[str], object] = lambda _: None
    ) -> None:
        self._timer = timer
        self._here = here
        self._spoil = spoil
        self._loop: WorkerLoop | None = None
        self._raised: BaseException | None = None  # by a handler of the author's, while the loop's own code ran
        self._task: asyncio.Task[Any] | None = None
        self._told: set[frozenset[str]] = set()
        self._log = logs.get_logger("arbd.worker")

    @property
    def made_loop(self) -> WorkerLoop | None:
        """The event loop, if one has been made."""
        return self._loop

    @property
    def running_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop, while it runs an action."""
        return self._loop if self._task is not None else None

    def loop(self) -> WorkerLoop:
        """The event loop; a new one, where there is none or somebody has closed it."""
        if self._loop is None or self._loop.is_closed():
            self._loop = WorkerLoop()
        return self._loop

    @uninterruptible  # a task that was made and not run would run with the next one
    def __call__(self, awaitable: Awaitable[Any], deadline: float) -> Any:
        """Run an awaitable to its end, and return its result. Raises ``TaskTimeout`` at ``deadline`` (seconds of
        ``time.monotonic()``), and ``TaskCancelled``."""
        return self._complete(awaitable, deadline, Leftovers())

    @uninterruptible
    def run_apart(self, awaitable: Awaitable[Any], deadline: float) -> Any:
        """Run a hook's or a resource's awaitable in the same way: what it leaves running on the loop stays there, and
        the timer, if it is armed, raises again afterwards."""
        armed = self._timer.is_armed
        try:
            return self._complete(awaitable, deadline, None)
        finally:
            if armed:
                self._timer.take_back(deadline)

    def _complete(self, awaitable: Awaitable[Any], deadline: float, belongs_to: Leftovers | None) -> Any:
        """``belongs_to``: what is made on the loop meanwhile is noted there; ``None``: it is to stay."""
        loop = self.loop()
        left = Leftovers(is_of_action=False) if belongs_to is None else belongs_to
        context = contextvars.copy_context()
        context.run(BELONGS_TO.set, belongs_to)
        context.run(bind_nobody if belongs_to is None else bind_task)
        self._raised = None
        loop.running = belongs_to
        self._task = task = loop.create_task(_until(awaitable, deadline, left, self), context=context)
        try:
            signals.fails_into(self._fail)
            self._timer.hand_over(self._cancel)
            return self._run(loop, task)
        finally:
            signals.fails_into(None)
            self._task = None
            self._end(loop, task, left)
            if belongs_to is None and loop is self._loop:
                loop.keep()

    def _run(self, loop: WorkerLoop, task: asyncio.Task[Any]) -> Any:
        """Run the loop until the task is done. One that somebody has stopped goes on: an action that ended just then
        would have stopped the next one's, too."""
        try:
            while True:
                try:
                    return loop.run_until_complete(task)
                except RuntimeError:
                    if task.done() or not _was_stopped(loop):
                        raise
        except asyncio.CancelledError:
            if self._raised is not None:
                raise self._raised from None
            if self._timer.is_cancelled:
                raise TaskCancelled from None
            raise

    def _cancel(self) -> None:
        """Cancel the action, because the hub did."""
        if self._task is not None:
            self._timer.strike("cancelled")
            self._task.cancel()

    def _fail(self, exc: BaseException) -> None:
        """Have the action fail with what a signal handler of its own raised."""
        if self._task is not None:
            self._raised = exc
            self._task.cancel()

    def _end(self, loop: WorkerLoop, task: asyncio.Task[Any], left: Leftovers) -> None:
        """See to it that nothing of the action is on the loop when the next one runs."""
        if not task.done() and not loop.is_closed():  # the action has stopped the loop
            task.cancel()
            _quietly(loop, _wait(task))
        if not task.done() or loop.is_closed():
            self._spoil("the event loop was closed" if loop.is_closed() else "a coroutine does not end")
            self._loop = None
        else:
            if left.is_of_action:
                loop.restore()
            if left.stuck:
                self._spoil(f"on the event loop there is still {shown(left.stuck)}")

    def tell(self, left: Leftovers) -> None:
        """Warn of what an action has left, once for the same kinds of things."""
        names = frozenset(left.names)
        if names and names not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(names)
            hint = "await what it starts, or make it a resource; it was cancelled"
            self._log.warning("left_on_event_loop", what=shown(left.names), hint=hint)

    @property
    def strike(self) -> Callable[[Any], object]:
        """Whom to tell that the deadline has struck."""
        return self._timer.strike

    @uninterruptible
    def struck_at(self, cancel: BaseException | None) -> None:
        """Note where the deadline has struck: where this was raised."""
        if cancel is not None:
            self._timer.struck_at = own_stacks.lines_of_traceback(cancel.__traceback__)

    @property
    def here(self) -> ForkMark:
        """The mark of this process."""
        return self._here


@interruptible  # by signal handlers of the action's; the timer is off
async def _until(awaitable: Awaitable[Any], deadline: float, left: Leftovers, runner: AsyncRunner) -> Any:
    remaining = deadline - time.monotonic()
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=first_iteration(hooks.firstiter))
    bound = asyncio.timeout(remaining)
    try:
        async with bound:
            return await awaitable
    except TimeoutError as exc:
        if bound.expired():
            runner.struck_at(exc.__cause__)  # the cancel, which went through everything that waited
            raise TaskTimeout from None
        raise
    finally:
        if not runner.here[0]:  # before the event loop turns again, which it shares with its parent's
            children.end_child(sys.exception())
        if bound.expired():  # also if it swallowed that
            runner.strike("interrupted")
        if left.is_of_action:
            left.find_tasks()
        if left:
            await left.cancel(deadline)
            runner.tell(left)
        left.is_over = True


def _was_stopped(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop that does not run any more could go on."""
    return not (loop.is_closed() or loop.is_running() or asyncio._get_running_loop() is not None)


async def _wait(task: asyncio.Task[Any]) -> None:
    await asyncio.wait([task], timeout=_STOP_S)


def _quietly(loop: asyncio.AbstractEventLoop, waiting: Any) -> None:
    try:
        loop.run_until_complete(waiting)
    except BaseException:  # stopped or closed once more: whoever asks looks at what is left
        waiting.close()
