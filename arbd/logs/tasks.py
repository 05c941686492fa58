"""Which task a line is about: the task that a worker runs, and what its threads and coroutines were started for.

    a coroutine, or a thread of asyncio.to_thread   the task it was bound to (a context variable), for ever
    the main thread                                 the task that runs
    another thread                                  the task in which it was started, while that one still runs
    a coroutine of a hook's or a resource's         none (``bind_nobody``)
    anything else                                   none

So a thread or coroutine that outlives its task is never taken for part of another. Per task this costs a global that is
set and cleared; what else is to happen at its begin or end is asked for by those who need it (``at_begin``,
``at_end``).
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures.thread import _worker  # the loop of a pool's threads
from contextvars import ContextVar
from threading import get_ident
from typing import Any, Final

from arbd.model.trace import ids

TaskTuple = tuple[str, str, str, int]
"""A task's id, its action, the trace context that came with it or that of its span, and its attempt."""

_REMEMBERED: Final = "_arbd_task"
_WAITS_FOR_WORK: Final = _worker.__code__

_NOBODY: Final[TaskTuple] = ("", "", "", 0)  # bound by identity

_task: TaskTuple | None = None
_left: TaskTuple | None = None
_at_begin: Callable[[], object] | None = None
_at_end: tuple[Callable[[], object], ...] = ()
_stdout: Any = None
_stderr: Any = None
_current_span: Callable[[], tuple[str, str] | None] | None = None
_has_spans = False
_quiet: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_bound: ContextVar[TaskTuple | None] = ContextVar("arbd_task", default=None)


def enter_task(task_id: str, action: str, traceparent: str = "", attempt: int = 1) -> None:
    """Give every line of this process the fields of that task until ``leave_task``. ``traceparent``: W3C trace context.

    A plain global: 40 ns. For actions that interleave on an event loop there is ``bind_task``.
    """
    global _task
    _task = (task_id, action, traceparent, attempt)
    if _at_begin is not None:
        _at_begin()


def leave_task() -> None:
    """Give lines the fields of no task any more. Whatever the task has put in the place of the standard streams goes
    with it."""
    global _left, _task
    if _at_end:
        _end()
    _left, _task = _task, None
    if sys.stdout is not _stdout or sys.stderr is not _stderr:
        put_streams_back()


def at_begin(function: Callable[[], object] | None) -> None:
    """Have a function called at the begin of each task; ``None``: nothing any more."""
    global _at_begin
    _at_begin = function


def at_end(function: Callable[[], object]) -> None:
    """Have a function called at the end of the task that runs, or of the next one; once. It must not raise."""
    global _at_end
    if function not in _at_end:
        _at_end = (*_at_end, function)


def _end() -> None:
    global _at_end
    functions, _at_end = _at_end, ()
    for function in functions:
        function()


def keep_streams() -> None:
    """Have every task begin with the standard streams that there are now: the author's module may have set its own."""
    global _stdout, _stderr
    _stdout, _stderr = sys.stdout, sys.stderr


def put_streams_back() -> None:
    """Undo what was put in the place of the standard streams since ``keep_streams``."""
    if _stdout is not None or _stderr is not None:
        sys.stdout, sys.stderr = _stdout, _stderr


def running_task() -> TaskTuple | None:
    """The task that this process runs, whoever asks."""
    return _task


def current_task() -> TaskTuple | None:
    """The task that what this thread does now belongs to, by the rules above."""
    bound = _bound.get()
    if bound is not None:
        return None if bound is _NOBODY else bound
    if get_ident() == threading.main_thread().ident:
        return _task
    started_in = started_for(threading.current_thread())
    return started_in if started_in is not None and started_in is _task else None


def started_for(thread: threading.Thread) -> TaskTuple | None:
    """The task in which a thread was started, whether that runs or not; ``None``: none, or it was not seen."""
    found: TaskTuple | None = getattr(thread, _REMEMBERED, None)
    return found


def bind_task() -> None:
    """Bind the task that runs to the current context: a coroutine that is started in it belongs to the task for ever,
    and so does what it hands to ``asyncio.to_thread``."""
    _bound.set(_task)


def bind_nobody() -> None:
    """Bind the current context to no task: what is started in it is a hook's or a resource's, whichever task runs."""
    _bound.set(_NOBODY)


def is_nobodys() -> bool:
    """Whether the current context is bound to no task (``bind_nobody``)."""
    return _bound.get() is _NOBODY


def bound_task(context: Any) -> TaskTuple | None:
    """The task that a context (``contextvars.Context``) is bound to."""
    task: TaskTuple | None = context.get(_bound)
    return None if task is _NOBODY else task


def is_any_thread_busy(but_of: TaskTuple | None = None) -> bool:
    """Whether any other thread may do something now, but for those that were started for this task. One of a pool that
    waits for work does nothing."""
    frames = sys._current_frames()
    frames.pop(get_ident(), None)
    for thread in list(_quiet):
        frames.pop(thread.ident or 0, None)
    if but_of is not None:
        frames.pop(threading.main_thread().ident or 0, None)
        for thread in threading.enumerate():
            if getattr(thread, _REMEMBERED, None) is but_of:
                frames.pop(thread.ident or 0, None)
    return any(frame.f_code is not _WAITS_FOR_WORK for frame in frames.values())


def is_quiet(thread: threading.Thread) -> None:
    """Say of a thread that it prints nothing, whatever it does."""
    _quiet.add(thread)


def remember_starts() -> None:
    """Have each thread remember the task in which it is started."""
    start = threading.Thread.start
    if hasattr(start, _REMEMBERED):
        return

    @functools.wraps(start)
    def remember_and_start(self: threading.Thread) -> None:
        setattr(self, _REMEMBERED, current_task())
        start(self)

    setattr(remember_and_start, _REMEMBERED, True)
    threading.Thread.start = remember_and_start  # type: ignore[method-assign] # that is the point


def task_fields(task_id: str, action: str, traceparent: str = "", attempt: int = 0) -> dict[str, Any]:
    """The fields that tell which task a line is about. ``attempt``: 0 where it is not known."""
    fields: dict[str, Any] = {"task_id": task_id, "action": action}
    if attempt:
        fields["attempt"] = attempt
    if traceparent:
        trace, span = ids(traceparent)
        if trace:
            fields["trace_id"] = trace
            if _has_spans:
                fields["span_id"] = span
    return fields


def left_task_fields(action: str) -> dict[str, Any]:
    """The fields of a line about a task of this action that this process has just left."""
    return task_fields(*_left) if _left is not None and _left[1] == action else {"action": action}


def name_spans(current: Callable[[], tuple[str, str] | None] | None = None) -> None:
    """Have lines name their span from now on: the trace context of a task is that of its own span. ``current``: asked
    for trace and span of what this thread does now."""
    global _has_spans, _current_span
    _has_spans, _current_span = True, current


def span_fields() -> dict[str, str]:
    """The fields of the span that this thread is in; none without one."""
    found = _current_span() if _current_span is not None else None
    return {} if found is None else {"trace_id": found[0], "span_id": found[1]}
