"""Tracebacks of an author's code, without the frames of what called it: arbd's own, and those of the import system."""

from __future__ import annotations

from pathlib import Path
from types import CodeType, TracebackType
from typing import Final

_ARBD: Final = Path(__file__).parents[1]
_OWN: Final = f"{_ARBD}/"
_NOT_OWN: Final = f"{_ARBD / 'examples'}/"  # programs to read, run as an author's
_IMPORT: Final = ("<frozen importlib", "<frozen runpy", "importlib/__init__.py")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def authors_part(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame of the author's on; all of it if there is none, or for a fault of arbd's."""
    part = traceback
    while part is not None and is_callers(part.tb_frame.f_code):
        part = part.tb_next
    return traceback if part is None else part


def exc_info_of(exc: BaseException) -> ExcInfo:
    """An exception with the author's part of its traceback, as ``logging`` takes it. The exception stays as it is."""
    return type(exc), exc, authors_part(exc.__traceback__)


def is_callers(code: CodeType) -> bool:
    """Whether this is code that runs an author's: arbd's, or the import system's."""
    file = code.co_filename
    if file.startswith(_OWN):
        return not file.startswith(_NOT_OWN)
    return file.startswith(_IMPORT[:2]) or file.endswith(_IMPORT[2])
