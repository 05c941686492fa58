"""Where a handler's code stands: the place by which a profile of a running worker tells whose time it was."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, Final

_MOST_LAYERS: Final = 100


def source_of(handler: Any) -> str:
    """File and first line of a handler's innermost function, below decorators that say what they wrap; empty if it is
    no Python code. Whatever an object of the author's raises when it is looked at means that, too."""
    try:
        for _ in range(_MOST_LAYERS):
            inner = _inner(handler)
            if inner is None:
                break
            handler = inner
        code = getattr(handler, "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if inspect.iscode(code) else ""
    except Exception:
        return ""


def _inner(handler: Any) -> Any:
    """What a handler calls, if it is only a layer; ``None``: nothing."""
    if isinstance(handler, partial):
        return handler.func
    if inspect.ismethod(handler):
        return handler.__func__
    wrapped = getattr(handler, "__wrapped__", None)
    if wrapped is not None:
        return wrapped
    if inspect.isfunction(handler) or inspect.isbuiltin(handler) or isinstance(handler, type):
        return None
    call = getattr(type(handler), "__call__", None)  # noqa: B004 - the method itself, which is then looked at
    return call if inspect.isfunction(call) else None
