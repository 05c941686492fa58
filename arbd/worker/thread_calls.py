"""Calls that threads post to the event loop: whose each of them is.

    the thread's action still runs                    that action's
    it has ended, and the call leads to something     whoever runs now: a helper thread or a pool that the first action
    that can be waited for                            has started, and that all of them use, answers it
    it has ended, and the call leads to no such       nobody's: it is not called, and a coroutine is cancelled
    thing
    a thread of the module's, a hook's, a resource's  theirs: it is called as if there were no actions

What a call leads to: its arguments, what its function holds or names, and what these hold, some levels deep.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import sysconfig
import threading
from asyncio import futures, mixins, tasks
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.thread import _worker  # what a pool's threads run
from contextvars import Context, ContextVar
from itertools import islice
from types import (
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any, Final

from arbd.logs.tasks import is_nobodys, running_task

_PATHS: Final = tuple(
    {path for key in ("stdlib", "platstdlib", "purelib", "platlib") if (path := sysconfig.get_path(key))} | {"<frozen "}
)
_MARK: Final = "_arbd_belongs_to"
_DEEPEST: Final = 6
_MOST: Final = 2_000  # things looked at
_MOST_OF_ONE: Final = 200


class Owner:
    """An action that something belongs to, for as long as it runs."""

    __slots__ = ()
    is_over: bool

    def enter(self, context: Context) -> None:
        """Have what is made in this context belong to the action."""


class _Over(Owner):
    """An action without an event loop: by the time a loop runs, it has ended."""

    __slots__ = ()
    is_over = True


OVER: Final = _Over()

BELONGS_TO: Final[ContextVar[Any]] = ContextVar("arbd_action", default=None)
"""The action in whose code this is; ``None``: in none's. In a thread: see ``owner``."""


def owner() -> Owner | None:
    """The action in whose code this is, also in a thread that an action has started."""
    left: Owner | None = BELONGS_TO.get()
    if left is None:
        thread = threading._active.get(threading.get_ident())  # type: ignore[attr-defined] # makes no stand-in
        left = getattr(thread, _MARK, None)
    return left


def starter() -> Owner | None:
    """The action that starts a thread here, or gives one something to do; also one that is not asynchronous."""
    left = owner()
    if left is None and threading.get_ident() == threading.main_thread().ident:
        return OVER if running_task() is not None and not is_nobodys() else None
    return left


def mark_thread(thread: threading.Thread) -> None:
    """Note whose a thread is that is about to be started. One of an executor works for anybody."""
    if getattr(thread, "_target", None) is not _worker and (left := starter()) is not None:
        setattr(thread, _MARK, left)


def as_part_of(left: Owner, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function in a thread, as this action's."""
    before = BELONGS_TO.set(left)
    try:
        return function(*args, **kwargs)
    finally:
        BELONGS_TO.reset(before)


# -- whose code it is --------------------------------------------------------------------------------------------------


def is_authors_code(code: CodeType) -> bool:
    """Whether code is neither Python's nor an installed library's."""
    return not code.co_filename.startswith(_PATHS)


def is_authors(callback: Any) -> bool:
    """Whether a function or a coroutine is the author's."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    code = getattr(getattr(callback, "__func__", callback), "__code__", None) or getattr(callback, "cr_code", None)
    return code is not None and is_authors_code(code)


# -- what a call leads to ----------------------------------------------------------------------------------------------

_FUTURES: Final = (asyncio.Future, futures._PyFuture, tasks._PyTask)  # type: ignore[attr-defined] # in Python
_WAITABLE: Final[type] = mixins._LoopBoundMixin  # events, queues, locks, conditions, semaphores, barriers
_ITEMS: Final = (list, tuple, set, frozenset, deque)
_ENDS: Final = (
    *(str, bytes, bytearray, int, float, complex, bool, type(None), type, ModuleType, FrameType, TracebackType),
    *(CodeType, threading.Thread, asyncio.AbstractEventLoop, Context),
)


def leads_to_waiter(things: Iterable[Any]) -> bool:
    """Whether a search from these finds a pending future that somebody waits for, or may yet, or something else that
    coroutines wait with."""
    level = list(things)
    seen: set[int] = set()
    kept: list[Any] = []  # an identity is one only while the thing lives
    for _ in range(_DEEPEST):
        found: list[Any] = []
        for thing in level:
            if id(thing) in seen or issubclass(type(thing), _ENDS) or type(thing).__module__.startswith("arbd."):
                continue
            if len(seen) >= _MOST:
                return False
            seen.add(id(thing))
            if _is_waited_for(thing):
                return True
            found += islice(_held_by(thing), _MOST_OF_ONE)
        kept += level
        level = found
    return False


def _is_waited_for(thing: Any) -> bool:
    if not issubclass(type(thing), _FUTURES):
        return issubclass(type(thing), _WAITABLE)
    if thing.done():
        return False
    if isinstance(thing, asyncio.Task):
        return not _is_over(context_of(thing))
    waiting = thing._callbacks
    return not waiting or not all(_is_over(context) for _, context in waiting)


def _is_over(context: Context | None) -> bool:
    left = None if context is None else context.get(BELONGS_TO, None)
    return left is not None and left.is_over


def context_of(task: asyncio.Task[Any]) -> Context | None:
    """The context that a task's coroutine runs in."""
    if (get := getattr(task, "get_context", None)) is not None:  # from Python 3.12 on
        found: Context | None = get()
        return found
    held = gc.get_referents(task)
    own = next((each for each in held if type(each) is dict and "_context" in each), {})
    return next((each for each in (*held, own.get("_context")) if type(each) is Context), None)


def _held_by(thing: Any) -> Iterator[Any]:
    """What a thing refers to; of a function what it uses, not all that its module has."""
    if issubclass(type(thing), _FUTURES):
        return iter(())
    if type(thing) is FunctionType:
        return _used_by(thing.__code__, thing.__globals__, (*cells(thing.__closure__), *(thing.__defaults__ or ())))
    if type(thing) is CoroutineType:
        frame = thing.cr_frame
        return iter(()) if frame is None else _used_by(thing.cr_code, frame.f_globals, frame.f_locals.values())
    if type(thing) is MethodType:
        return iter((thing.__self__, thing.__func__))
    if type(thing) is BuiltinFunctionType:
        return iter((thing.__self__,))
    if type(thing) is dict:
        return iter(list(thing.values()))
    if type(thing) in _ITEMS:
        return iter(list(thing))
    return iter(gc.get_referents(thing))


def _used_by(code: CodeType, names: dict[str, Any], held: Iterable[Any]) -> Iterator[Any]:
    yield from held
    for name in code.co_names if is_authors_code(code) else ():
        if name in names:
            yield names[name]


def cells(closure: Any) -> list[Any]:
    """What a function's closure holds."""
    found = []
    for cell in closure or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # it is empty yet
            pass
    return found


def coroutine_in(callback: Any) -> Any:
    """The coroutine that ``asyncio.run_coroutine_threadsafe`` has put into a call; nothing, if there is none."""
    return next((each for each in cells(getattr(callback, "__closure__", None)) if type(each) is CoroutineType), None)
