"""What an action leaves on the event loop, and the loop that tells whose each thing is.

A context variable names the action in whose code something was made; tasks, timers and asynchronous generators are
noted with it. What a resource or the module has on the loop was made elsewhere, and stays:

    task                    cancelled, and waited for, a moment; one that does not end spoils the worker
    timer of the author's   cancelled. Those of libraries stay: a pool's own may have been set while an action used it
    async generator         closed
    busy executor           replaced: threads that sleep on would keep the next action's from starting
    handlers, factory       put back
"""

from __future__ import annotations

import asyncio
import functools
import sysconfig
import time
import weakref
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Final

import uvloop

from arbd import logs

_MOST_S: Final = 0.1  # for what was cancelled to end
_ROUNDS: Final = 3  # what is cancelled may start something else
_PATHS: Final = tuple(
    {path for key in ("stdlib", "platstdlib", "purelib", "platlib") if (path := sysconfig.get_path(key))}
)


class Leftovers:
    """What was made on the loop in the code of one action, and has not ended."""

    __slots__ = ("generators", "is_of_action", "names", "stuck", "tasks", "timers")

    def __init__(self, *, is_of_action: bool = True) -> None:
        self.is_of_action = is_of_action
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.generators: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self.timers: list[asyncio.TimerHandle] = []
        self.names: list[str] = []
        self.stuck: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.timers or self.tasks or self.generators)

    async def cancel(self, deadline: float) -> None:
        """Cancel what is left. The action has ended, within its time; ``deadline`` bounds this, too."""
        until = time.monotonic() + min(_MOST_S, max(0.01, (deadline - time.monotonic()) / 2))
        now = asyncio.get_running_loop().time()
        for timer in self.timers:
            if not timer.cancelled() and timer.when() > now:
                self.names.append(f"a timer for {_name(_callback(timer))}")
                timer.cancel()
        for _ in range(_ROUNDS):
            left = self._left()
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=max(0.001, until - time.monotonic()))
            self.names += [_name(task.get_coro()) for task in left]
        self.stuck = [_name(task.get_coro()) for task in self._left()]
        for generator in list(self.generators):
            await self._close(generator, until)

    def _left(self) -> list[asyncio.Task[Any]]:
        current = asyncio.current_task()
        return [task for task in list(self.tasks) if not task.done() and task is not current]

    async def _close(self, generator: AsyncGenerator[Any, Any], until: float) -> None:
        if getattr(generator, "ag_frame", None) is None or getattr(generator, "ag_running", False):
            return
        self.names.append(_name(generator))
        try:
            async with asyncio.timeout(max(0.001, until - time.monotonic())):
                await generator.aclose()
        except Exception as exc:  # its clean-up: nobody else's business
            self.names[-1] += f" (closed with {type(exc).__name__})"


BELONGS_TO: Final[ContextVar[Leftovers | None]] = ContextVar("arbd_action", default=None)
"""The action in whose code this is; ``None``: in none's."""


def first_iteration(before: Callable[[Any], None] | None) -> Callable[[Any], None]:
    """The hook that is called with each asynchronous generator that is begun; it also calls the one ``before``."""

    def begun(generator: Any) -> None:
        if before is not None:
            before(generator)
        left = BELONGS_TO.get()
        if left is not None:
            left.generators.add(generator)

    return begun


class WorkerLoop(uvloop.Loop):
    """An event loop that notes what is made in the code of an action."""

    def __init__(self) -> None:
        super().__init__()
        self._handled: set[int] = set()
        self._executor: ThreadPoolExecutor = _CountingExecutor()
        handler = logs.loop_exception_handler()
        self.set_exception_handler(handler)
        self._kept: tuple[Any, bool, ThreadPoolExecutor] = (handler, False, self._executor)
        super().set_default_executor(self._executor)
        self.set_task_factory(_make_task)

    def keep(self) -> None:
        """Keep what a hook or a resource has set."""
        self._kept = (self.get_exception_handler(), self.get_debug(), self._executor)
        self.set_task_factory(_make_task)

    def restore(self) -> None:
        """Put back what an action may have set, and replace an executor that is still busy."""
        handler, debug, executor = self._kept
        if self.get_task_factory() is not _make_task:
            self.set_task_factory(_make_task)
        if self.get_exception_handler() is not handler:
            self.set_exception_handler(handler)
        if self.get_debug() != debug:
            self.set_debug(debug)
        for signum in list(self._handled):
            self.remove_signal_handler(signum)
        if isinstance(executor, _CountingExecutor) and executor.is_busy():
            executor.shutdown(wait=False, cancel_futures=True)
            executor = _CountingExecutor()
            self._kept = (handler, debug, executor)
        if self._executor is not executor:
            self.set_default_executor(executor)

    def set_default_executor(self, executor: Any) -> None:
        super().set_default_executor(executor)
        self._executor = executor

    # Any: the parameters of these two are a type variable tuple in typeshed.
    def add_signal_handler(  # type: ignore[override] # see above
        self, sig: int, callback: Callable[..., Any], *args: Any
    ) -> None:
        super().add_signal_handler(sig, callback, *args)
        if BELONGS_TO.get() is not None:
            self._handled.add(sig)

    def remove_signal_handler(self, sig: int) -> bool:
        self._handled.discard(sig)
        return bool(super().remove_signal_handler(sig))

    def call_later(  # type: ignore[override] # see above
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> Any:
        timer = super().call_later(delay, callback, *args, context=context)
        left = BELONGS_TO.get()
        if left is not None and _is_authors(callback):
            left.timers.append(timer)
        return timer


class _CountingExecutor(ThreadPoolExecutor):
    """An executor that knows whether it has something to do."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="asyncio")
        self._running: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def is_busy(self) -> bool:
        """Whether any of its jobs has not ended."""
        return bool(self._running)


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **how: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **how)
    left = BELONGS_TO.get()
    if left is not None:
        left.tasks.add(task)
    return task


def _callback(timer: Any) -> Any:
    return getattr(timer, "_callback", timer)


def _is_authors(callback: Any) -> bool:
    """Whether a function is neither Python's nor an installed library's."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    code = getattr(getattr(callback, "__func__", callback), "__code__", None)
    return code is not None and not code.co_filename.startswith(_PATHS)


def _name(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", None) or type(thing).__qualname__)[:200]
