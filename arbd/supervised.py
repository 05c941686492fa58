"""Unexpected exceptions on an event loop: logged with their traceback, once, in one place, and acted upon.

    supervised(coroutine, name) ──ends by an exception──────┐
    a callback, a reader, a timer, anybody's task ──raises──┼─> the loop's exception handler ─> log ─> ``on_failure``
    report(error, where): caught, so that others go on ─────┘

Not for what is ordinary: an ``OSError`` of a call is caught at that call, and becomes an outcome there. What arrives
here is a bug, or a state that should not be; whoever owns the process decides what follows (``install``).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from arbd.logs import get_logger

T = TypeVar("T")
HandlerContext = dict[str, Any]  # of asyncio's exception handlers

_MOST_LOGGED: Final = 20


def supervised(coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Run a coroutine as a task of the running loop, and report its unexpected end.

    An exception that leaves the coroutine goes to the loop's exception handler, at once and whether or not somebody
    awaits the task; so does an end as cancelled that nobody asked for. ``name`` is what the log calls it.
    """
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    task.add_done_callback(_report)
    return task


def report(error: BaseException, where: str) -> None:
    """Report an unexpected exception to the running loop's exception handler, where whoever caught it goes on: it keeps
    books for others, or must give something back first. ``where``: what the log calls it."""
    asyncio.get_running_loop().call_exception_handler({"message": where, "exception": error})


def is_being_cancelled() -> bool:
    """Whether somebody asked the running task to end. If not, a ``CancelledError`` tells of what it was waiting for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def install(loop: asyncio.AbstractEventLoop, on_failure: Callable[[BaseException], None]) -> None:
    """Have every unexpected exception of this loop logged, and ``on_failure`` called with it; each time.

    After ``_MOST_LOGGED`` of them the log has what there is to know.
    """
    log = get_logger("arbd.supervised")
    left = iter(range(_MOST_LOGGED - 1, -1, -1))

    def handle(_loop: asyncio.AbstractEventLoop, context: HandlerContext) -> None:
        error = context.get("exception")
        if error is None or _is_of_grpc(context, error):
            log.warning("event_loop_warning", message=context.get("message", ""), exc_info=error)
            return
        more = next(left, None)
        if more is not None:
            words = {} if more else {"hint": "more of them are not logged"}
            name = f"{type(error).__name__}: {error}"
            log.critical("unexpected_failure", where=_where(context), error=name, exc_info=error, **words)
        on_failure(error)

    loop.set_exception_handler(handle)


def _report(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        error = task.exception()
    elif task.cancelling():
        return  # somebody asked for it
    else:
        error = RuntimeError("it ended as cancelled, and nobody had cancelled it")
    if error is not None:
        context = {"message": f"task {task.get_name()} failed", "exception": error, "task": task}
        task.get_loop().call_exception_handler(context)


def _where(context: HandlerContext) -> str:
    """The name of what raised: a task's, or the callback."""
    message = str(context.get("message", ""))
    handle = context.get("handle")
    return f"{message} {handle!r}" if handle is not None and "callback" not in message else message


def _is_of_grpc(context: HandlerContext, error: BaseException) -> bool:
    """Whether it happened in gRPC's own machinery, which tells the calls concerned by their status as well.

    Its poller reads a socket that several loops share, and finds it empty now and then: grpc/grpc#25364. Its own tasks
    may end by what their call's status says, and nobody fetches that.
    """
    if isinstance(error, BlockingIOError) and "PollerCompletionQueue" in _where(context):
        return True
    task = context.get("task") or context.get("future")
    coroutine = task.get_coro() if isinstance(task, asyncio.Task) else None
    return type(coroutine).__module__.startswith("grpc") or _is_in_grpc(coroutine)


def _is_in_grpc(coroutine: Any) -> bool:
    code, package = getattr(coroutine, "cr_code", None), sys.modules.get("grpc")
    if code is None or package is None or package.__file__ is None:
        return False
    return str(code.co_filename).startswith(package.__file__.removesuffix("__init__.py"))
