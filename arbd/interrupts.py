"""Marks for code that a task's soft deadline or cancel, an asynchronous exception, may or may not interrupt.

Python runs a signal's handler between any two instructions. One that raises there would tear what belongs together: a
call that was counted and never ends, a request to the supervisor that nobody waits for, an event loop with a task that
nobody awaits. So functions are marked, and a handler looks at the frames before it raises:

    @uninterruptible    the limits' counting, the worker's own steps      ─┐  the innermost of them on the stack
    @interruptible      the author's code, and waits inside the others    ─┴─ decides; without a mark it may be raised

This costs nothing where nothing is raised: no flag is set and none can be left set, and other threads of the process,
which no signal ever interrupts, do not count. The price is that a handler that may not raise must come again a moment
later (``arbd.worker.soft_timer``).

A mark is the function's own: what it calls inherits it. A function that is uninterruptible must not wait, except in one
that is interruptible, inside ``try``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import CodeType, FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from threading import Lock

F = TypeVar("F", bound=Callable[..., Any])

_NO_KWARGS: Final[Mapping[str, Any]] = MappingProxyType({})
_TURN_S: Final = 0.02
_PAUSE_NS: Final = 500_000  # longer than a deadline that may not be raised takes to come again
#: By identity, because code objects compare by value; the code is kept, so that no other gets its identity.
_MARKS: Final[dict[int, tuple[CodeType, bool]]] = {}


def _mark(function: F, *, may_be: bool) -> F:
    code: CodeType = getattr(function, "__code__")  # noqa: B009 - a Callable need not have one, a function has
    _MARKS[id(code)] = (code, may_be)
    return function


def uninterruptible(function: F) -> F:
    """Mark a function as one that an asynchronous exception must not interrupt."""
    return _mark(function, may_be=False)


def interruptible(function: F) -> F:
    """Mark a function as one that may be interrupted anywhere, whoever calls it."""
    return _mark(function, may_be=True)


def may_interrupt(frame: FrameType | None) -> bool:
    """Whether an exception may be raised in this frame."""
    while frame is not None:
        mark = _MARKS.get(id(frame.f_code))
        if mark is not None:
            return mark[1]
        frame = frame.f_back
    return True


_IMPORT: Final = frozenset({"<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"})


def is_importing(frame: FrameType | None) -> bool:
    """Whether this frame runs while a module is imported, however deep. An exception there leaves half a module, and an
    extension in C can often be loaded once only."""
    while frame is not None:
        if frame.f_code.co_filename in _IMPORT:
            return True
        frame = frame.f_back
    return False


def take_turn(lock: Lock, sleep: Callable[[int], None]) -> None:
    """Take a lock that another thread may hold while it waits; interruptible in between.

    In a waiting ``acquire`` an exception could be raised when the lock has just been taken, and it would stay taken; so
    this waits for a moment at a time, and the exception may be raised in between, in ``sleep`` (nanoseconds).
    """
    while not lock.acquire(timeout=_TURN_S):
        sleep(_PAUSE_NS)


@interruptible
def call(function: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] = _NO_KWARGS) -> Any:
    """Call an author's function from uninterruptible code. Arguments without stars: packing twice takes 100 ns."""
    return function(*args, **kwargs)
