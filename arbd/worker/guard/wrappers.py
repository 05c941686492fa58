"""Wrappers around functions of Python that change the process: they do what is wrapped, and notice it.

They stand there from before the author's module is imported, so that ``from os import chdir`` gets one. Each keeps its
function's name, module, docstring and signature, and can be pickled as it could.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from arbd.worker.guard.notices import NOTICES


def watch(owner: Any, name: str, kind: str) -> None:
    """Have a call of ``owner.name`` noticed as a change of this kind. Nothing, where Python has no such function."""
    real = getattr(owner, name, None)
    if real is None:
        return

    def changes(*args: Any, **kwargs: Any) -> Any:
        try:
            return real(*args, **kwargs)
        finally:  # one that raises may have done half of it
            NOTICES.changes(kind)

    replace(owner, name, changes)


def replace(owner: Any, name: str, function: Callable[..., Any]) -> Any:
    """Put ``function`` in the place of ``owner.name``, looking the same; what was there. Twice makes no difference."""
    real = getattr(owner, name)
    if hasattr(real, "_arbd_wrapped"):
        return real._arbd_wrapped
    functools.update_wrapper(function, real)
    function.__module__ = getattr(owner, "__name__", None) or real.__module__
    if isinstance(owner, type):
        function.__module__ = getattr(real, "__module__", owner.__module__)
    function._arbd_wrapped = real  # type: ignore[attr-defined] # a function takes any attribute
    setattr(owner, name, function)
    return real
