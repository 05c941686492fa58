"""Start and stop of a worker: what runs before its first task and after its last one.

    start   start hooks in order, each with the resources it takes; then the other resources, but for lazy ones
            ── one fails, or it takes longer than worker.start_timeout ──> NotFit: the worker takes no task
    stop    stop hooks in reverse ─> resources closed in reverse ─> event loop ─> threads ─> spans ─> atexit ─> files
            together within worker.stop_timeout

What fails at the stop is logged, and the next step is made all the same. Hooks and resources are interrupted a moment
before the time is over, so that what follows them still has some; what cannot be interrupted ends with the process.
Stop hooks run where all start hooks have run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, NamedTuple, NoReturn

from arbd import logs
from arbd.author.lifespan import Hook, Lifespan, Moment, in_order
from arbd.errors import EXIT_FAILURE, EXIT_UNFIT, TaskTimeout
from arbd.interrupts import uninterruptible
from arbd.logs.tracebacks import exc_info_of
from arbd.model.response import message_of
from arbd.worker import endings, inherited
from arbd.worker.aio import AsyncRunner
from arbd.worker.resources import OpenResources
from arbd.worker.soft_timer import SoftTimer
from arbd.worker.watchdog import Watchdog

_START_GRACE_S: Final = 1.0  # from the interruption of a start hook to the end of a process in which that did not help
_MOST_RESERVED_S: Final = 0.5  # of the stop's time, for what comes after hooks and resources
_RESERVED_SHARE: Final = 0.2


class Step(NamedTuple):
    """One step of start or stop; it is given its deadline. Unless it is ``bounded`` by itself, it is interrupted
    there."""

    name: str
    run: Callable[[float], object]
    bounded: bool = False


class NotFit(Exception):
    """A start hook or a resource failed; the text says which, and how."""


class WorkerLife:
    """Start and stop of one worker. ``say_unfit`` tells the supervisor why it cannot take tasks; timeouts in seconds.
    ``end_if_child`` ends a process that a step has forked and that came back from it. ``flush`` sends the spans
    that wait, until a moment."""

    def __init__(
        self,
        lifespan: Lifespan,
        resources: OpenResources,
        runner: AsyncRunner,
        timer: SoftTimer,
        say_unfit: Callable[[str], object],
        *,
        start_timeout: float,
        stop_timeout: float,
        end_if_child: Callable[[], object] = lambda: None,
        flush: Callable[[float], object] = lambda _: None,
    ) -> None:
        self._lifespan = lifespan
        self._resources = resources
        self._runner = runner
        self._timer = timer
        self._say_unfit = say_unfit
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._end_if_child = end_if_child
        self._flush = flush
        self._is_started = False
        self._log = logs.get_logger("arbd.worker")

    # -- start -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run start hooks and open resources. Raises ``NotFit``."""
        steps = list(self._start_steps())
        if steps:
            deadline = time.monotonic() + self._start_timeout
            with Watchdog(self._start_timeout + _START_GRACE_S, self._end_unfit) as watchdog:
                for step in steps:
                    watchdog.step = step.name
                    self._start_one(step, deadline)
        self._is_started = True

    def _start_steps(self) -> Iterator[Step]:
        resources = self._lifespan.resources
        planned = set[str]()

        def opening(wanted: Iterable[str]) -> Iterator[Step]:
            for name in in_order(resources, wanted):
                if name not in planned:
                    planned.add(name)
                    yield Step(f"resource {name}", partial(self._resources.open, name))

        for hook in self._lifespan.hooks["start"]:
            yield from opening(hook.supplied.needs(resources))
            yield self._hook_step("start", hook)
        yield from opening(each.name for each in resources.values() if not each.lazy)

    def _hook_step(self, moment: Moment, hook: Hook) -> Step:
        return Step(f"{moment} hook {hook.name}", partial(self._resources.run, hook))

    def _start_one(self, step: Step, deadline: float) -> None:
        try:
            self._run(step, deadline)
            if time.monotonic() < deadline:
                return
        except TaskTimeout:
            pass
        except BaseException as exc:  # SystemExit of an author's, too
            self._log.error("worker_not_fit", step=step.name, exc_info=exc_info_of(exc))
            raise NotFit(f"{step.name}: {_said(exc)}") from None
        self._log.error("worker_not_fit", step=step.name, reason=self._too_slow())
        raise NotFit(f"{step.name}: {self._too_slow()}")

    def _too_slow(self) -> str:
        return f"TimeoutError: not done within worker.start_timeout ({self._start_timeout:g} s)"

    def _end_unfit(self, step: str) -> NoReturn:
        """End this process, whose start hangs where it cannot be interrupted. Called in a thread."""
        try:
            self._log.error("worker_not_fit", step=step, reason=self._too_slow())
            self._say_unfit(f"{step}: {self._too_slow()}")
            logs.finish()
        finally:
            os._exit(EXIT_UNFIT)

    # -- stop ------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Run everything that the end of this process should have run, in ``stop_timeout`` at most; with 0 nothing."""
        seconds = self._stop_timeout
        if seconds <= 0:
            return
        over_at = time.monotonic() + seconds
        reserved = min(_MOST_RESERVED_S, seconds * _RESERVED_SHARE)
        with Watchdog(seconds, self._end_late) as watchdog:
            self._stop_all(watchdog, list(self._stop_hooks()), over_at, reserved)
            self._stop_all(watchdog, list(self._closing()), over_at, reserved)  # what hooks have opened, too
            for step in self._last_steps(over_at, reserved):
                watchdog.step = step.name
                self._stop_one(step, over_at)

    def _stop_all(self, watchdog: Watchdog, steps: list[Step], over_at: float, reserved: float) -> None:
        """After one that has used up all the time, the others still have a moment: most need no more."""
        for step in steps:
            watchdog.step = step.name
            self._stop_one(step, max(over_at - reserved, time.monotonic() + reserved / (8 * len(steps))))

    def _stop_hooks(self) -> Iterator[Step]:
        if self._is_started:
            for hook in reversed(self._lifespan.hooks["stop"]):
                yield self._hook_step("stop", hook)

    def _closing(self) -> Iterator[Step]:
        for name in self._resources.closing_order():
            yield Step(f"resource {name}", partial(self._resources.close, name))

    def _last_steps(self, over_at: float, reserved: float) -> Iterator[Step]:
        """What they wait for is bounded; the rest of the time is for ``atexit`` functions, which nobody interrupts."""
        loop = self._runner.made_loop
        yield Step("event loop", lambda _: endings.shut_down(loop, over_at - reserved / 2), bounded=True)
        yield Step("threads", lambda _: endings.join_threads(over_at - reserved / 4), bounded=True)
        yield Step("spans", lambda _: self._flush(over_at - reserved / 4), bounded=True)
        yield Step("atexit", lambda _: endings.run_exit_functions(over_at - reserved / 4), bounded=True)
        yield Step("files", lambda _: self._write_out(), bounded=True)
        yield Step("resource tracker", lambda _: inherited.end_tracker(over_at), bounded=True)

    def _stop_one(self, step: Step, deadline: float) -> None:
        try:
            self._run(step, deadline)
        except TaskTimeout:
            reason = f"not done within worker.stop_timeout ({self._stop_timeout:g} s)"
            self._log.error("stop_step_interrupted", step=step.name, reason=reason)
        except BaseException as exc:
            self._log.error("stop_step_failed", step=step.name, exc_info=exc_info_of(exc))

    def _write_out(self) -> None:
        for failure in inherited.write_out():
            self._log.error("file_not_written", reason=str(failure))

    def _end_late(self, step: str) -> NoReturn:
        """End this process, whose stop hangs. Called in a thread."""
        try:
            self._log.error("stop_timeout", step=step, seconds=self._stop_timeout, hint="see worker.stop_timeout")
            logs.finish()
        finally:
            os._exit(EXIT_FAILURE)

    @uninterruptible  # but for the author's code
    def _run(self, step: Step, deadline: float) -> None:
        try:
            if not step.bounded:
                self._timer.arm(deadline)
            step.run(deadline)
        finally:
            self._timer.disarm()
            self._end_if_child()


def _said(exc: BaseException) -> str:
    name, text = type(exc).__name__, message_of(exc)
    return name if text == name else f"{name}: {text}"
