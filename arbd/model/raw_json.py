"""Text that an author sends as JSON unseen, ``msgspec.Raw``: looked at once anybody has taken that class.

msgspec writes such text as it is, whatever it is, and nothing about the encoded result tells that there was some. So
the name ``msgspec.Raw`` is given out by a function: until it is asked for, no result can hold one, and none is looked
through. Afterwards every result is.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any, Final

import msgspec

_NAME: Final = "Raw"
_RAW: Final = msgspec.Raw
_PLAIN: Final = frozenset((str, int, float, bool, type(None), bytes))
_skip = msgspec.json.Decoder(_RAW).decode
_waiting: weakref.WeakSet[Any] = weakref.WeakSet()
_is_taken = False


class BadRawError(ValueError):
    """A ``msgspec.Raw`` that holds no JSON."""


def when_taken(encoder: Any) -> None:
    """Have ``encoder.raw_taken`` called once somebody may have a ``msgspec.Raw``; now, if that is so."""
    if _is_taken:
        encoder.raw_taken()
    else:
        _waiting.add(encoder)


def refuse_bad(value: Any, children: Callable[[Any], Any]) -> None:
    """Raise ``BadRawError`` if a value that has been encoded has such text in it that is no JSON."""
    stack = [value]
    while stack:
        each = stack.pop()
        if type(each) is _RAW:
            _check(bytes(each))
        elif type(each) not in _PLAIN:
            stack += [child for _, child in children(each)]


def _check(text: bytes) -> None:
    try:
        text.decode()
        _skip(text)
    except Exception as exc:
        raise BadRawError(f"msgspec.Raw without valid JSON: {exc}") from exc


def _give(name: str) -> Any:
    """What ``msgspec`` gives for a name that it has not: this class."""
    if name != _NAME:
        raise AttributeError(f"module 'msgspec' has no attribute {name!r}")
    if not str(sys._getframe(1).f_globals.get("__name__", "")).startswith("msgspec"):
        _taken()
    return _RAW


def _taken() -> None:
    global _is_taken
    _is_taken = True
    setattr(msgspec, _NAME, _RAW)
    for encoder in list(_waiting):
        encoder.raw_taken()
    _waiting.clear()


def watch() -> None:
    """Give the name out by a function from now on."""
    if not hasattr(msgspec, "__getattr__"):
        msgspec.__getattr__ = _give  # type: ignore[method-assign] # PEP 562
        delattr(msgspec, _NAME)


watch()
