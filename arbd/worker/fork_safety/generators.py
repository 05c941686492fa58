"""Random generators that the author made at import: forked workers have copies, which give the same numbers.

    numpy's, made without a seed    a forked worker gives it a new state, wherever it is held
    with a seed; Python's; torch's  nobody can tell whether the seed was chosen on purpose: they stay as they are

Either is told, with the name that holds it. Those that numpy, ``random`` and torch have for themselves are not meant:
``arbd.worker.reseed``.
"""

from __future__ import annotations

import gc
import random
import sys
from typing import Any, Final, NamedTuple

from arbd.model.description import Leftover
from arbd.worker import target
from arbd.worker.fork_safety import places
from arbd.worker.fork_safety.places import is_a

_DEPTH: Final = 2  # a global name, what it holds, what that holds
_MOST_SEARCHED: Final = 20_000
_MOST_RESEEDED: Final = 1_000  # each takes 40 µs in every worker's start
_MOST_TOLD: Final = 20
_FROM_THE_SYSTEM: Final = 1 << 96  # numpy takes 128 bits where no seed is given; nobody chooses such a number by hand
_NUMPY: Final = ("Generator", "RandomState", "BitGenerator")

_HINT: Final = (
    "a generator that is made at import is copied into every worker; make it in an @provider.on_worker_start hook or "
    "as a @provider.resource, without a seed or with one for each worker"
)


class Generators(NamedTuple):
    """``unseeded``: the states of numpy's that can be given a new one; ``renewed``, ``same``: names of the author's
    that hold one of those, or one that gives the same numbers in every worker."""

    unseeded: list[Any]
    renewed: list[str]
    same: list[str]


def look() -> Generators:
    """Find them among all objects of this process, and the names among those of the author's modules."""
    numpy_types = _numpy_types()
    unseeded = {id(state): state for each in _all_of(numpy_types) if is_unseeded(state := state_of(each))}
    renewed: list[str] = []
    same: list[str] = []
    seen: set[int] = set()
    for place, value in places.walk(target.author_modules(), depth=_DEPTH, most=_MOST_SEARCHED):
        if is_a(value, numpy_types) and not _is_numpys_own(value):
            state = id(state_of(value))
            if state not in seen:  # a generator, and then its bit generator
                seen.add(state)
                (renewed if state in unseeded else same).append(f"{place} (numpy {type(value).__name__})")
        elif _is_pythons(value) or _is_torchs(value):
            same.append(f"{place} ({type(value).__module__}.{type(value).__name__})")
    return Generators(list(unseeded.values())[:_MOST_RESEEDED], renewed, same)


def told(found: Generators, *, by_exec: bool) -> list[Leftover]:
    """What is worth telling. Workers that import the module for themselves have generators of their own; only a seed
    makes them alike, and of Python's and torch's nobody can tell."""
    renewed = [] if by_exec else [f"{name}: given a new state in each worker" for name in found.renewed]
    texts = [*(f"{name}: may give the same numbers in every worker" for name in found.same), *renewed]
    if len(texts) > _MOST_TOLD:
        texts = [*texts[:_MOST_TOLD], f"and {len(texts) - _MOST_TOLD} more"]
    return [Leftover("generators", texts, _HINT)] if texts else []


def renew(states: list[Any]) -> None:
    """Give these a state from the system's entropy, in place: whoever holds them goes on with it."""
    for state in states:
        # The seed sequence with it: from that ``spawn`` makes generators.
        state.__setstate__(type(state)().__getstate__())


def _numpy_types() -> tuple[type, ...]:
    module = sys.modules.get("numpy.random")
    return tuple(found for name in _NUMPY if isinstance(found := getattr(module, name, None), type))


def _all_of(types: tuple[type, ...]) -> list[Any]:
    return [each for each in gc.get_objects() if issubclass(type(each), types)] if types else []  # as ``is_a`` does


def state_of(value: Any) -> Any:
    """The bit generator of one of numpy's generators, which may be one itself."""
    found = getattr(value, "bit_generator", None)
    return found if found is not None else getattr(value, "_bit_generator", value)


def is_unseeded(state: Any) -> bool:
    """Whether a bit generator was made without a seed."""
    entropy = getattr(getattr(state, "seed_seq", None), "entropy", None)
    return isinstance(entropy, int) and entropy >= _FROM_THE_SYSTEM


def _is_numpys_own(value: Any) -> bool:
    own = getattr(sys.modules.get("numpy.random.mtrand"), "_rand", None)
    return own is not None and state_of(value) is state_of(own)


def _is_pythons(value: Any) -> bool:
    return is_a(value, random.Random) and not is_a(value, random.SystemRandom) and value is not _PYTHONS_OWN


_PYTHONS_OWN: Final = getattr(random, "_inst", None)


def _is_torchs(value: Any) -> bool:
    torch = sys.modules.get("torch")
    kind = getattr(torch, "Generator", None)
    return isinstance(kind, type) and is_a(value, kind) and value is not getattr(torch, "default_generator", None)
