"""The modules that are loaded: one that an action takes out of ``sys.modules``, or blocks with ``None``, is put back.

A library in C can be loaded once for each process: imported again, it fails from then on. What an action has put in a
module's place is the author's, and stays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from arbd.worker.guard.kinds import StateKind

_STANDARD: Final = sys.stdlib_module_names


class ModuleTable(StateKind):
    """The modules that were there at the last look. Only packages, not what is in them, are looked at each time."""

    name = "sys.modules"

    def __init__(self, modules: Callable[[], dict[str, Any]] = lambda: sys.modules) -> None:
        super().__init__(self.name, lambda: None, lambda _: None, look="full")
        self._modules = modules
        self._known: dict[str, Any] = {}
        self._names: tuple[str, ...] = ()
        self._packages: tuple[Any, ...] = ()
        self._count = -1

    def remember(self) -> None:
        self._known = dict(self._modules())
        self._names = tuple(name for name in self._known if "." not in name and name not in _STANDARD)
        self._packages = tuple(map(self._known.get, self._names))
        self._count = len(self._known)

    def put_back(self) -> str | None:
        modules = self._modules()
        if len(modules) == self._count and tuple(map(modules.get, self._names)) == self._packages:
            return None
        told = [name for name, module in self._known.items() if modules.get(name) is None and module is not None]
        modules.update((name, self._known[name]) for name in told)
        blocked = [name for name, module in list(modules.items()) if module is None and name not in self._known]
        for name in blocked:
            del modules[name]
        self.remember()
        return ", ".join(sorted([*told, *blocked])[:20]) or None


_BROKEN: Final = ("cannot load module more than once per process", "None in sys.modules")
_DEEPEST: Final = 10


def broken_import(exc: BaseException | None) -> str:
    """What an exception, or what has caused it, says of an import that fails from now on in this process, whoever tries
    it: half of the module was loaded before, or it was loaded and is gone. Empty: it says nothing of the kind."""
    for _ in range(_DEEPEST):
        if exc is None:
            break
        if issubclass(type(exc), ImportError):
            text = " ".join(each for each in exc.args if type(each) is str)
            if any(words in text for words in _BROKEN):
                return text[:200]
        exc = exc.__cause__ or exc.__context__
    return ""
