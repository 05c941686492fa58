"""Tracebacks of an author's code, without the frames of what called it: arbd's, the import system's, and those of
threads and event loops.

An exception that was raised while another one was handled, or from one, has more than one traceback; each begins so.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, Final

_ARBD: Final = Path(__file__).parents[1]
_OWN: Final = f"{_ARBD}/"
_NOT_OWN: Final = f"{_ARBD / 'examples'}/"  # programs to read, run as an author's
_IMPORT: Final = ("<frozen importlib", "<frozen runpy", "importlib/__init__.py")
_STARTERS: Final = (
    *(threading.__file__, f"{Path(futures.__file__).parent}/", f"{Path(asyncio.__file__).parent}/"),
    "uvloop/",  # what its compiled functions say of their file
)

_NAME_OF_CLASS: Final = type.__dict__["__name__"].__get__


class ExcInfo(tuple[type[BaseException], BaseException, TracebackType | None]):
    """What ``logging`` takes as ``exc_info``, of an exception of an author's code."""

    __slots__ = ()


def authors_part(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame of the author's on; all of it if there is none, or for a fault of arbd's."""
    part = traceback
    while part is not None and _leads_to_author(part.tb_frame.f_code.co_filename):
        part = part.tb_next
    return traceback if part is None else part


def exc_info_of(exc: BaseException) -> ExcInfo:
    """An exception with the author's part of its traceback, as ``logging`` takes it. The exception stays as it is."""
    part = authors_part(exc.__traceback__)
    if isinstance(exc, SyntaxError) and part is not None and _leads_to_author(part.tb_frame.f_code.co_filename):
        part = None  # it names file and line itself; no line of the author's has run
    return ExcInfo((type(exc), exc, part))


def text_of(exc_info: Any) -> str:
    """An exception as text: of an author's code, each of its tracebacks from the author's first frame on; any other
    one whole. Whatever is odd about it, this does not raise."""
    try:
        return "".join(lines_of(exc_info)).rstrip("\n")
    except Exception as problem:  # an exception of the author's that breaks whoever looks at it
        return f"(the traceback cannot be shown: {type(problem).__name__})"


def lines_of(exc_info: Any) -> Iterator[str]:
    """The same, in parts that end with a newline. What is odd about the exception may raise."""
    shown = traceback.TracebackException(*exc_info)
    if isinstance(exc_info, ExcInfo):
        _cut_all(shown)
    return shown.format()


def _cut_all(shown: traceback.TracebackException) -> None:
    left: list[traceback.TracebackException | None] = [shown]
    seen: set[int] = set()
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        own = next((n for n, frame in enumerate(each.stack) if not _leads_to_author(frame.filename)), 0)
        del each.stack[:own]
        left += [each.__cause__, each.__context__, *(each.exceptions or ())]


def class_name(exc: BaseException) -> str:
    """The name of an exception's class, whatever its metaclass says."""
    return str(_NAME_OF_CLASS(type(exc)))


def place_of(exc: BaseException) -> str:
    """Where an exception was raised, as ``file.py:19``; empty if it never was."""
    part = exc.__traceback__
    if part is None:
        return ""
    while part.tb_next is not None:
        part = part.tb_next
    return f"{Path(part.tb_frame.f_code.co_filename).name}:{part.tb_lineno}"


def is_callers(code: CodeType) -> bool:
    """Whether this is code that runs an author's: arbd's, or the import system's."""
    return _is_callers(code.co_filename)


def _is_callers(file: str) -> bool:
    if file.startswith(_OWN):
        return not file.startswith(_NOT_OWN)
    return file.startswith(_IMPORT[:2]) or file.endswith(_IMPORT[2])


def _leads_to_author(file: str) -> bool:
    return _is_callers(file) or file.startswith(_STARTERS)
