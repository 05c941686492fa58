"""The Python stacks of this process itself, in the form in which ``faulthandler`` writes them: no values.

Of every thread, of the tasks of an event loop, of one frame, of an exception; the innermost call comes first.
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from types import FrameType, TracebackType
from typing import Any, Final

MOST_FRAMES: Final = 100  # of one stack
_MOST_CHARS: Final = 500  # of a name; so many has ``faulthandler``
_CONTROLS: Final = re.compile(r"[^\x20-\x7e]")
_MOST_THREADS: Final = 100
_MOST_COROUTINES: Final = 100
_FRAMES: Final = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED: Final = ("cr_await", "gi_yieldfrom", "ag_await")


def lines_of(frame: FrameType | None, most: int = MOST_FRAMES) -> list[str]:
    """The frames of a stack, the innermost first."""
    found: list[str] = []
    while frame is not None and len(found) < most:
        found.append(_line(frame))
        frame = frame.f_back
    return [*found, "  ..."] if frame is not None else found


def lines_of_traceback(traceback: TracebackType | None, most: int = MOST_FRAMES) -> list[str]:
    """The frames that an exception went through, the innermost first."""
    found: deque[str] = deque(maxlen=most)
    while traceback is not None:
        found.append(_line(traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return list(reversed(found))


def threads() -> str:
    """The stacks of all threads."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    blocks = []
    for ident, frame in islice(sys._current_frames().items(), _MOST_THREADS):
        named = names.get(ident, "a thread of a library")
        blocks.append("\n".join([f"Thread {_plain(named)} (most recent call first):", *lines_of(frame)]))
    return "\n\n".join(blocks)


def coroutines(tasks: Iterable[asyncio.Task[object]]) -> str:
    """Where the tasks of an event loop wait. From the thread of that loop."""
    return "\n\n".join(islice(_of_tasks(tasks), _MOST_COROUTINES))


def _of_tasks(tasks: Iterable[asyncio.Task[object]]) -> Iterator[str]:
    for task in tasks:
        frames = [_line(frame) for frame in reversed(list(islice(_awaited(task.get_coro()), MOST_FRAMES)))]
        yield "\n".join([f"Task {_plain(task.get_name())} (most recent call first):", *frames])


def _awaited(awaitable: Any) -> Iterator[FrameType]:
    """The frames of a coroutine and of those that it waits for, the outermost first. ``Task.get_stack`` gives only the
    first of them."""
    while awaitable is not None:
        frame = next((found for name in _FRAMES if (found := getattr(awaitable, name, None)) is not None), None)
        if not isinstance(frame, FrameType):
            return
        yield frame
        awaitable = next((found for name in _AWAITED if (found := getattr(awaitable, name, None)) is not None), None)


def _line(frame: FrameType, line: int | None = None) -> str:
    code, number = frame.f_code, line or frame.f_lineno or 0
    return f'  File "{_plain(code.co_filename)}", line {number} in {_plain(code.co_name)}'


def _plain(text: str) -> str:
    """A name of an author's, without what would control a terminal; and not too long."""
    if len(text) <= _MOST_CHARS and text.isascii() and text.isprintable():
        return text
    return _CONTROLS.sub("?", text[:_MOST_CHARS].encode("ascii", "backslashreplace").decode("ascii"))
