"""Where an exception of an action was raised, in the author's own code: ``app.py:19``. For callers and logs.

Not a traceback: one file and line, relative to where the code is imported from, so that no path of the machine is told.

    several frames of the author's    the innermost
    none, but installed code          the innermost of the package that the action is in: a provider may be installed
    a group of exceptions             the first of its members that has a place
    none at all                       what it was raised from, or while
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import islice
from types import FrameType, TracebackType
from typing import Final

from arbd.worker.target import is_authors

_MOST_EXCEPTIONS: Final = 100  # of a group or a chain, which may be a circle
_MOST_CHARACTERS: Final = 200

# Asked of the base class: an author's own exception may have attributes of these names.
_traceback_of: Final = BaseException.__dict__["__traceback__"].__get__
_cause_of: Final = BaseException.__dict__["__cause__"].__get__
_context_of: Final = BaseException.__dict__["__context__"].__get__
_members_of: Final = BaseExceptionGroup.__dict__["exceptions"].__get__


def place_of(exc: BaseException, package: str = "") -> str:
    """The file and line; empty where there is none to tell. ``package``: the one that the action is in, by name."""
    for each in islice(_in_order(exc), _MOST_EXCEPTIONS):
        own: tuple[FrameType, int] | None = None
        of_package: tuple[FrameType, int] | None = None
        for frame, line in _frames(_traceback_of(each)):
            if is_authors(frame.f_code.co_filename) and not frame.f_code.co_filename.startswith("<"):
                own = frame, line
            elif package and _package_of(frame) == package:
                of_package = frame, line
        if (found := own or of_package) is not None:
            return f"{_shown(found[0].f_code.co_filename)}:{found[1]}"
    return ""


def package_of(handler: object) -> str:
    """The name of the package, or the module of its own, that an action is in."""
    module = getattr(handler, "__module__", None)
    return module.partition(".")[0] if isinstance(module, str) else ""


def _in_order(exc: BaseException) -> Iterator[BaseException]:
    """The exceptions that may have a place, the best first, each once: a group comes after its members, as it is raised
    where they are awaited and not where anything went wrong."""
    seen: set[int] = set()
    waiting = [(exc, True)]
    while waiting:
        each, is_new = waiting.pop()
        if is_new:
            if id(each) in seen:
                continue
            seen.add(id(each))
            waiting += [(found, True) for found in (_context_of(each), _cause_of(each)) if found is not None]
            if issubclass(type(each), BaseExceptionGroup):
                waiting.append((each, False))
                waiting += [(member, True) for member in reversed(_members_of(each))]
                continue
        yield each


def _frames(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno or 0
        traceback = traceback.tb_next


def _package_of(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name.partition(".")[0] if isinstance(name, str) else ""


def _shown(file: str) -> str:
    """The file as it is named from where code is imported; its own name alone, if that is nowhere."""
    roots = [entry.rstrip(os.sep) for entry in sys.path if isinstance(entry, str) and os.path.isabs(entry)]
    inside = [root for root in roots if root and file.startswith(f"{root}{os.sep}")]
    name = file[len(max(inside, key=len)) + 1 :] if inside else os.path.basename(file)
    return name[-_MOST_CHARACTERS:].encode("utf-8", "backslashreplace").decode()
