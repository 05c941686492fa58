"""Exceptions that a thread raises in another one, as decorators do that limit the time of a function: a late one must
not strike in another task, nor in arbd's own code.

    into the main thread, by a thread of the task that runs, inside the author's code     raised
    by a thread of another task, or outside of the author's code                          refused: no such thread
    raised, and not delivered by the end of the task                                      taken back
    into any other thread                                                                 raised

Seen is who calls ``ctypes.pythonapi.PyThreadState_SetAsyncExc``, which all of these do, but for code in C. A thread
that the module, a hook or a resource has started belongs to no task: what it raises is taken to be meant for the one
that runs. ``_thread.interrupt_main`` needs nothing: SIGINT has a handler that does nothing, or the author's.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from typing import Any, Final

from arbd.interrupts import may_interrupt
from arbd.logs import tasks
from arbd.worker.guard.kinds import StateKind
from arbd.worker.guard.notices import NOTICES

_NAME: Final = "PyThreadState_SetAsyncExc"
_REFUSED: Final = 0  # as the function says that there is no such thread
_raise_in: Any = None


def install() -> None:
    """Put a function of Python in the place of that of ``ctypes.pythonapi``."""
    global _raise_in
    if _raise_in is None:
        _raise_in = ctypes.pythonapi[_NAME]  # another object than the attribute, whose types are the author's to set
        setattr(ctypes.pythonapi, _NAME, _guarded)


def _guarded(thread_id: Any, exception: Any = None) -> int:
    """As the function of C, called with or without types of ``ctypes``."""
    ident, raised = int(getattr(thread_id, "value", thread_id) or 0), _object_of(exception)
    is_main = ident == threading.main_thread().ident
    if is_main and raised is not None and NOTICES.is_armed:
        if not _may_strike(ident):
            return _REFUSED
        NOTICES.changes(ThreadExceptions.name)
    return _raise(ident, raised)


def _object_of(exception: Any) -> Any:
    """The exception that is meant, however it was given; ``None``: the pending one is to be taken back."""
    if isinstance(exception, ctypes.py_object):
        return exception.value if exception else None
    return None if getattr(exception, "value", exception) in (None, 0) else exception


def _may_strike(ident: int) -> bool:
    running = tasks.running_task()
    return (
        running is not None
        and tasks.started_for(threading.current_thread()) in (None, running)
        and may_interrupt(sys._current_frames().get(ident))
    )


def _raise(ident: int, exception: Any) -> int:
    found: int = _raise_in(ctypes.c_ulong(ident), None if exception is None else ctypes.py_object(exception))
    return found


class ThreadExceptions(StateKind):
    """An exception that a thread has raised in the main one, and that has not come yet."""

    name = "an exception of another thread"

    def __init__(self) -> None:
        super().__init__(self.name, lambda: None, lambda _: None)

    def put_back(self) -> str | None:
        _raise(threading.get_ident(), None)
        return None
