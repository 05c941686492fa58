"""Marks on the methods of a ``Provider`` subclass: what a decorator has said of them, read when one is constructed.

A mark goes above or below ``@staticmethod`` and ``@classmethod``. A subclass that overrides a marked method keeps the
mark, with its own implementation; one that sets the attribute to ``None`` removes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

ACTION: Final = "__arbd_action__"
RESOURCE: Final = "__arbd_resource__"
ON_START: Final = "__arbd_on_worker_start__"
ON_STOP: Final = "__arbd_on_worker_stop__"


def marked_methods(owner: object, mark: str) -> Iterator[tuple[Callable[..., Any], Any]]:
    """The bound methods of ``owner`` that have this mark, and what it says; base classes first, in order of
    definition."""
    marked: dict[str, Any] = {}
    for cls in reversed(type(owner).__mro__):
        for attribute, value in vars(cls).items():
            # staticmethod and classmethod objects hold the function that a decorator below them marked.
            said = _said(value, mark) or _said(getattr(value, "__func__", None), mark)
            if said is not None:
                marked[attribute] = said
    for attribute, said in marked.items():
        method = getattr(owner, attribute)
        if method is not None:
            yield method, said


def _said(value: object, mark: str) -> Any:
    """The mark of a class's attribute. Looked up without its own ``__getattr__``, which may answer to any name."""
    try:
        return object.__getattribute__(value, "__dict__").get(mark)
    except AttributeError:
        return None
