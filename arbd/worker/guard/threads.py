"""Threads that an action leaves behind: those that still do something would do it during somebody else's task.

    a daemon thread                             may go on: whoever made it said that nobody waits for it
    a thread of an executor that waits for work may go on
    any other that an action has started        has a moment to end; then the worker is replaced

Only threads of Python's, and those that an action started; what the module, hooks and resources have is the baseline,
and what their coroutines start later is theirs.
"""

from __future__ import annotations

import _thread
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import process as process_pool
from concurrent.futures import thread as thread_pool
from typing import Any, Final

from arbd.logs.tasks import is_nobodys
from arbd.worker.guard.kinds import Spoiled, StateKind
from arbd.worker.guard.notices import NOTICES
from arbd.worker.guard.wrappers import replace, watch
from arbd.worker.thread_calls import as_part_of, mark_thread, starter

_GRACE_S: Final = 0.005
_PAUSE_S: Final = 0.0002

_started: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def install() -> None:
    """Put a wrapper in the place of ``Thread.start``, and of what gives threads of an executor something to do."""
    start: Any = None

    def started(self: threading.Thread) -> None:
        if NOTICES.is_armed:
            mark_thread(self)
        start(self)
        if NOTICES.is_armed and not is_nobodys():
            _started.add(self)
            NOTICES.changes(Threads.name)

    start = replace(threading.Thread, "start", started)
    _mark_jobs()
    _mark_raw_threads()
    watch(process_pool.ProcessPoolExecutor, "submit", Threads.name)


def _mark_jobs() -> None:
    """Have what an action gives to an executor belong to it there, too; the executor's threads work for anybody."""
    real: Any = None

    def submit(self: thread_pool.ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if not NOTICES.is_armed:
            return real(self, fn, *args, **kwargs)
        try:
            left = starter()
            return (
                real(self, fn, *args, **kwargs) if left is None else real(self, as_part_of, left, fn, *args, **kwargs)
            )
        finally:
            NOTICES.changes(Threads.name)

    real = replace(thread_pool.ThreadPoolExecutor, "submit", submit)


def _mark_raw_threads() -> None:
    """Have threads belong to the action that starts them also where they are no objects of ``threading``."""
    for name in ("start_new_thread", "start_new"):
        _mark_raw_threads_of(name)


def _mark_raw_threads_of(name: str) -> None:
    real: Any = None

    def start(function: Any, args: Any, *kwargs: Any) -> Any:
        left = starter() if NOTICES.is_armed else None
        if left is None or not callable(function) or not isinstance(args, tuple):
            return real(function, args, *kwargs)
        return real(as_part_of, (left, function, *args), *kwargs)

    real = replace(_thread, name, start)


class Threads(StateKind):
    """The threads that were started since the first task."""

    name = "threads"

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__(self.name, _nothing, _nothing)
        self._clock = clock
        self._sleep = sleep

    def remember(self) -> None:
        _started.clear()

    def put_back(self) -> str | None:
        until = self._clock() + _GRACE_S
        while busy := _busy():
            if self._clock() > until:
                names = ", ".join(sorted(thread.name for thread in busy)[:5])
                raise Spoiled(f"threads that still run: {names}")
            self._sleep(_PAUSE_S)
        return None


class Executors(StateKind):
    """Whether executors take work: Python says no for good at its end, and so does who calls what it calls there."""

    def __init__(self) -> None:
        super().__init__("executors", _nothing, _nothing, look="full")

    def put_back(self) -> str | None:
        if thread_pool._shutdown or process_pool._global_shutdown:
            raise Spoiled("executors were shut down for good, as at the end of Python")
        return None


def _busy() -> list[threading.Thread]:
    """Threads that are not daemons and do something."""
    alive = [thread for thread in list(_started) if thread.is_alive() and not thread.daemon]
    if not alive:
        return []
    frames = sys._current_frames()
    return [thread for thread in alive if not _is_idle(thread, frames.get(thread.ident or 0))]


def _is_idle(thread: threading.Thread, frame: Any) -> bool:
    if frame is not None and frame.f_code is thread_pool._worker.__code__:
        found = frame.f_locals  # what it has been given may not have begun
        return found["work_queue"].empty() and found.get("work_item") is None
    pending = getattr(thread, "pending_work_items", None)  # of the thread that feeds a pool of processes
    return pending is not None and not pending


def _nothing(_: Any = None) -> None:
    """This kind reads by its own methods."""
