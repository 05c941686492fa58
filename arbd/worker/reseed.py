"""The random numbers of one worker: what is global in ``random``, ``numpy.random`` and torch, seeded from the system.

A forked worker begins with the zygote's state, as all others do, and each successor again. Python seeds its own
``random`` after a fork, numpy and torch do not. Where the author seeds on purpose (``worker.reseed = false``) the state
after the import is kept in every worker: then Python's seeding is undone as well.

Only what is loaded is seeded: what is imported later takes its seed from the system by itself.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from typing import Any, Final

from arbd import logs
from arbd.worker.fork_safety.generators import renew

_SEED_BYTES: Final = 32  # two of 10^9 workers are alike with a chance of 10^-58


class Seeds:
    """The state of ``random`` after the import, and the generators that get a new one; made before workers are
    forked."""

    def __init__(self, unseeded: Sequence[Any] = ()) -> None:
        self._python = random.getstate()
        self._unseeded = list(unseeded)

    def enter_fork(self, *, reseed: bool) -> None:
        """In a forked worker: numbers of its own; or, without ``reseed``, those that the author's seed gives."""
        if reseed:
            reseed_all()
            _attempt("numpy", lambda: renew(self._unseeded))
        else:
            random.setstate(self._python)


def reseed_all() -> None:
    """Seed what is global and loaded."""
    random.seed(os.urandom(_SEED_BYTES))
    _attempt("numpy", _reseed_numpy)
    _attempt("torch", _reseed_torch)


def _attempt(library: str, seed: Any) -> None:
    """Another release may have other names for it: that is told, and must not keep a worker from its tasks."""
    try:
        seed()
    except Exception as exc:
        logs.get_logger("arbd.worker").warning("not_reseeded", library=library, reason=f"{type(exc).__name__}: {exc}")


def _reseed_numpy() -> None:
    numpy_random = sys.modules.get("numpy.random")
    seed = getattr(numpy_random, "seed", None)
    if numpy_random is None or seed is None:  # it is not loaded, or its import has failed half-way
        return
    state = getattr(numpy_random, "get_bit_generator", lambda: None)()
    if state is None or type(state).__name__ == "MT19937":
        words = os.urandom(_SEED_BYTES)
        seed([int.from_bytes(words[at : at + 4], "little") for at in range(0, len(words), 4)])
    else:  # the author has put another one there, which cannot be seeded
        renew([state])


def _reseed_torch() -> None:
    torch = sys.modules.get("torch")
    manual_seed = getattr(torch, "manual_seed", None)
    if manual_seed is None:
        return
    # Also of cards, where it is kept until one is used, with a formatted stack for each kind: 3 to 7 ms of a new worker
    # that a build without cards is spared.
    version = getattr(torch, "version", None)
    if version is not None and not any(getattr(version, cards, None) for cards in ("cuda", "hip", "xpu")):
        manual_seed = getattr(getattr(torch, "default_generator", None), "manual_seed", manual_seed)
    manual_seed(int.from_bytes(os.urandom(8), "little") >> 1)
