"""Exceptions that nobody handles in a process that holds an author's code: each one event, with its traceback as a
field and the task it belongs to. An author who sets a hook of the same kind has his own instead."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

from arbd.logs.tasks import TaskTuple, bound_task, current_task

Report = Callable[..., object]
"""Called with what happened, the exception, the task, and further fields."""


def install(report: Report) -> None:
    """Have what threads raise, and what is raised where nobody can handle it, reported."""

    def thread_failed(args: threading.ExceptHookArgs, /) -> None:
        if args.exc_type is SystemExit:
            return
        name = args.thread.name if args.thread is not None else ""
        report("thread failed", args.exc_value, current_task(), thread=name)

    def not_raisable(args: Any, /) -> None:
        what = getattr(args.object, "__qualname__", None) or type(args.object).__qualname__
        report(args.err_msg or "exception ignored", args.exc_value, current_task(), where=what)

    threading.excepthook = thread_failed
    sys.unraisablehook = not_raisable


def loop_handler(report: Report) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """The exception handler of an event loop: a coroutine that nobody awaits may fail, or be found to have failed, when
    another task runs."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        name = next((repr_of(context[key]) for key in ("task", "future", "handle") if key in context), "")
        report(str(context.get("message", "")), context.get("exception"), owner_of(context), where=name)

    return handle


def owner_of(context: dict[str, Any]) -> TaskTuple | None:
    """The task that what failed on an event loop was started for, as far as it can be told."""
    for key in ("task", "future"):
        get_context = getattr(context.get(key), "get_context", None)  # from Python 3.12 on
        if get_context is not None:
            return bound_task(get_context())
    return None


def repr_of(value: object) -> str:
    """What failed, by name: its ``repr`` would hold results and arguments."""
    get_coro = getattr(value, "get_coro", None)
    coroutine = get_coro() if callable(get_coro) else None
    return getattr(coroutine, "__qualname__", None) or type(value).__qualname__
