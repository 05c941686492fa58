"""The random generators that a library keeps for the whole process: seeded anew once an action has seeded one.

One that an action seeds would give the next tasks the same numbers each time. Their functions are wrapped at the end of
their module's import, whoever imports it, so that ``from numpy.random import seed`` gets a wrapper as well. What is
seeded through an object that no wrapper fits on is found by a look:

    numpy.random.mtrand._rand.seed            takes away the seed sequence that was left there as a mark
    numpy.random.set_bit_generator            the bit generator is another one; it is put back
    torch.default_generator.manual_seed       its ``initial_seed`` is another one
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

from arbd.worker.fork_safety.generators import renew
from arbd.worker.guard.kinds import StateKind, Undone
from arbd.worker.guard.wrappers import watch

_NUMPY: Final = "numpy.random"
_TORCH: Final = "torch"
_CARDS: Final = ("torch.cuda", "torch.xpu", "torch.mps", "cupy.random")
_SEEDED_ANEW_BY: Final = {
    "random": "random",
    _NUMPY: _NUMPY,
    "numpy.random.mtrand": _NUMPY,
    _TORCH: _TORCH,
    "torch.random": _TORCH,
    **{place: place for place in _CARDS},
    "torch.cuda.random": "torch.cuda",
    "torch.xpu.random": "torch.xpu",
}
"""By module that has such functions: the module of which ``seed`` without arguments seeds from the kernel."""
_SETS: Final = (
    *("seed", "manual_seed", "manual_seed_all", "setstate", "set_state", "set_rng_state", "set_rng_state_all"),
    "set_bit_generator",
)
_OF_PYTHON: Final = ("seed", "setstate", "__setstate__")


def kinds() -> list[StateKind]:
    """One for each generator, loaded or not; and one more for those that can be marked."""
    marks = {_NUMPY: _Marked(_NUMPY, _mark_of_numpy, _mark_numpy), _TORCH: _Marked(_TORCH, _mark_of_torch)}

    def seeded(place: str) -> StateKind:
        def undo() -> None:
            _seed_anew(place)
            if place in marks:
                marks[place].remember()

        return Undone(_kind(place), undo, (), quiet=True)

    return [*map(seeded, dict.fromkeys(_SEEDED_ANEW_BY.values())), *marks.values()]


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
    if module is random:
        for name in _OF_PYTHON:  # of the one object behind them; the class makes others, which are not meant
            watch(random._inst, name, _kind("random"))


def _seed_anew(place: str) -> None:
    if place == _NUMPY:
        _seed_numpy_anew()
        return
    module = sys.modules.get(place)  # it has no seed where its import has failed half-way
    for name in ("seed_all", "seed"):
        if (seed := getattr(module, name, None)) is not None:
            getattr(seed, "_arbd_wrapped", seed)()
            return


# -- what is found by a look -------------------------------------------------------------------------------------------


class _Marked(StateKind):
    """A generator, by something in it that seeding changes: ``mark`` leaves it there, ``read`` reads it."""

    def __init__(self, place: str, read: Callable[[], Any], mark: Callable[[], object] = lambda: None) -> None:
        super().__init__(f"the mark of {place}", read, lambda _: None, look="full", quiet=True)
        self._place = place
        self._mark = mark

    def remember(self) -> None:
        self._mark()
        super().remember()

    def put_back(self) -> str | None:
        now = self._read()
        if now == self._baseline:
            return None
        is_seeded = self._baseline is not None or now == _SEEDED
        if is_seeded:
            _seed_anew(self._place)
        self.remember()
        return "" if is_seeded else None


_SEEDED: Final = "seeded since it was loaded"
_bit_generator: Any = None  # numpy's own, as nobody's action has left it


def _mark_of_numpy() -> Any:
    """Its bit generator and the seed sequence there, which is none once a number was given for a seed."""
    own = getattr(sys.modules.get("numpy.random.mtrand"), "_rand", None)
    if own is None:
        return None
    state = own._bit_generator
    seeds = getattr(state, "seed_seq", None) or getattr(state, "_seed_seq", None)
    return _SEEDED if seeds is None else (id(state), id(seeds))


def _mark_numpy() -> None:
    """Leave a seed sequence there, where there is none; its numbers stay."""
    global _bit_generator
    mtrand = sys.modules.get("numpy.random.mtrand")
    own = getattr(mtrand, "_rand", None)
    if own is None:
        return
    _bit_generator = state = own._bit_generator
    if _mark_of_numpy() == _SEEDED:
        with suppress(Exception):  # a release that has other states: what is seeded behind the wrappers stays unseen
            state.__setstate__((state.state, type(state)().seed_seq))


def _seed_numpy_anew() -> None:
    """Its own bit generator, and a state for it from the system."""
    module = sys.modules.get(_NUMPY)
    seed: Any = getattr(module, "seed", None)
    if seed is None:
        return
    put = getattr(module, "set_bit_generator", None)
    if put is not None and _bit_generator is not None:
        getattr(put, "_arbd_wrapped", put)(_bit_generator)
    if _bit_generator is None or type(_bit_generator).__name__ == "MT19937":
        getattr(seed, "_arbd_wrapped", seed)()
    else:  # the author's, which cannot be seeded by that
        renew([_bit_generator])


def _mark_of_torch() -> Any:
    own = getattr(sys.modules.get(_TORCH), "default_generator", None)
    return None if own is None else own.initial_seed()


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
