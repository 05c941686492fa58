"""Registrations that were refused while a target is loaded: kept until its end, so that an author reads all of them.

    importing a module in a test, or by hand    the first wrong decorator raises, as everywhere in Python
    arbd check, run, dev (``collecting``)       each wrong one is kept, the code goes on, and the load fails in the end

Pure. What a refused decorator decorated stays as it is, so what stands below sees the same names as ever.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, ParamSpec, TypeVar, cast

from arbd.errors import RegistrationError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_OWN: Final = str(Path(__file__).parents[1])
_NOT_OWN: Final = f"{_OWN}/examples/"
_CONTEXTLIB: Final = contextmanager.__code__.co_filename
_MOST: Final = 1000  # kept; a loop may register without end

_kept: list[RegistrationError] | None = None


class BadRegistrationsError(RegistrationError):
    """Several registrations were refused; ``errors``, and what the code raised after them, if it did."""

    def __init__(self, errors: Sequence[BaseException]) -> None:
        self.errors = list(errors)
        super().__init__("; ".join(map(str, errors)))


@contextmanager
def collecting() -> Iterator[None]:
    """Keep what is refused inside this block, and raise it at its end: one as it is, several together."""
    global _kept
    before, _kept = _kept, []
    try:
        yield
        raise_kept()
    except (Exception, SystemExit) as error:
        if not _kept or error is _kept[0] or isinstance(error, BadRegistrationsError):
            raise
        raise BadRegistrationsError([*_kept, error]) from error
    finally:
        _kept = before


def raise_kept() -> None:
    """Raise what was refused until now, if anything was."""
    if _kept:
        raise _kept[0] if len(_kept) == 1 else BadRegistrationsError(_kept)


@contextmanager
def keeping() -> Iterator[None]:
    """Keep what is refused inside this block, if it is being collected."""
    try:
        yield
    except RegistrationError as error:
        if _kept is None or len(_kept) >= _MOST:
            raise
        _kept.append(_with_author(error))


def knowing_its_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """A function that makes a decorator, and refuses arguments that it does not have as it does any other mistake."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            with keeping():
                raise RegistrationError(_misfit(function.__name__, signature, kwargs, error)) from None
            return cast(R, _unchanged)
        return function(*args, **kwargs)

    return checked


def _misfit(name: str, signature: inspect.Signature, given: Mapping[str, object], error: TypeError) -> str:
    known = [each for each in signature.parameters if each not in ("self", "function", "method")]
    unknown = next((each for each in given if each not in known), None)
    if unknown is None:
        return f"{name}() takes {', '.join(known) or 'nothing'}: {error}"
    import difflib

    alike = difflib.get_close_matches(unknown, known, n=1)
    more = f"did you mean {alike[0]!r}?" if alike else f"there are: {', '.join(known) or 'none'}"
    return f"{name}() has no argument {unknown!r}; {more}"


def _unchanged(decorated: T) -> T:
    return decorated


def _with_author(error: RegistrationError) -> RegistrationError:
    """The error with the frame that registers on top of its traceback: it is caught below that frame."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_own(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return error
    return error.with_traceback(TracebackType(error.__traceback__, frame, frame.f_lasti, frame.f_lineno))


def _is_own(file: str) -> bool:
    return file == _CONTEXTLIB or (file.startswith(f"{_OWN}/") and not file.startswith(_NOT_OWN))
