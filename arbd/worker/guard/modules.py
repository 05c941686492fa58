"""The modules that are loaded: what one that an action has imported puts somewhere is the module's, and stays.

A library may add an import hook, a callback of the garbage collector or a name of ``builtins`` when it is imported, and
needs it from then on. That nothing is called for it, so nobody can see who did it: where the thing was defined tells.
"""

from __future__ import annotations

import sys
from typing import Any

from arbd.worker.guard.kinds import StateKind

_before: frozenset[str] = frozenset()


def is_any_new() -> bool:
    """Whether a module was loaded since the last full look."""
    return len(sys.modules) > len(_before)


def is_of_new(value: Any) -> bool:
    """Whether this, its function or its class, was defined in a module that was loaded since the last full look."""
    if not is_any_new():
        return False
    name = getattr(value, "__module__", None)
    return isinstance(name, str) and name not in _before and name in sys.modules


class LoadedModules(StateKind):
    """Which modules are loaded. The last kind of a look, because others ask what is new; it puts nothing back."""

    def __init__(self) -> None:
        super().__init__("the loaded modules", lambda: None, lambda _: None, look="full")

    def remember(self) -> None:
        global _before
        _before = frozenset(sys.modules)

    def put_back(self) -> str | None:
        if len(sys.modules) != len(_before):
            self.remember()
        return None
