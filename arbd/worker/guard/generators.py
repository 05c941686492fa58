"""The random generators that a library keeps for the whole process: seeded anew once an action has seeded one.

One that an action seeds would give the next tasks the same numbers each time. Their functions are wrapped at the end of
their module's import, whoever imports it, so that ``from numpy.random import seed`` gets a wrapper as well.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

from arbd.worker.guard.kinds import StateKind, Undone
from arbd.worker.guard.wrappers import watch

_SEEDED_ANEW_BY: Final = {"random": "random", "numpy.random": "numpy.random", "torch": "torch", "torch.random": "torch"}
"""By module that has such functions: the module of which ``seed`` without arguments seeds from the kernel."""
_SETS: Final = ("seed", "manual_seed", "setstate", "set_state", "set_rng_state")


def kinds() -> list[StateKind]:
    """One for each generator, loaded or not."""
    return [
        Undone(_kind(place), partial(_seed_anew, place), (), quiet=True)
        for place in dict.fromkeys(_SEEDED_ANEW_BY.values())
    ]


def install() -> None:
    """Wrap the functions of what is loaded, and of what will be at the end of its import."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for place in _SEEDED_ANEW_BY:
        if (module := sys.modules.get(place)) is not None:
            _watch(place, module)


def _watch(place: str, module: ModuleType) -> None:
    for name in _SETS:
        watch(module, name, _kind(_SEEDED_ANEW_BY[place]))


def _seed_anew(place: str) -> None:
    seed: Any = getattr(sys.modules.get(place), "seed", None)  # none: its import has failed half-way
    if seed is not None:
        getattr(seed, "_arbd_wrapped", seed)()


def _kind(place: str) -> str:
    return f"the generator {place}"


class _Finder:
    """Finds nothing itself: it has the loaders that others find for these modules wrap their functions."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification that the other finders have for one of these modules; nothing for any other."""
        if fullname not in _SEEDED_ANEW_BY:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None or finder is self else find(fullname, path, target)
            if spec is not None:
                self._wrap_at_end_of(spec.loader, fullname)
                return spec
        return None

    def _wrap_at_end_of(self, loader: Any, place: str) -> None:
        real = getattr(loader, "exec_module", None)
        if real is None:
            return

        def exec_module(module: ModuleType) -> None:
            real(module)
            _watch(place, module)

        with suppress(AttributeError, TypeError):  # a loader without attributes of its own: it is left alone
            loader.exec_module = exec_module
