"""The provider that the benchmarks run, under the real daemon: ``python -m arbd run bench/provider.py``.

Its actions do as little as possible, or burn CPU in a known way, so that what is measured is arbd.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any

from arbd import Provider

HANG_TIMEOUT_S = 0.05  # long enough for the action to say on a busy machine that it has started

provider = Provider(name="bench", execution_timeout=30)


def burn(rounds: int) -> int:
    """Pure Python work: the same function runs in workers and in bare processes."""
    total = 0
    for number in range(rounds):
        total = (total * 31 + number) % 65_521
    return total


@provider.actions.register(name="nothing")
def nothing() -> None:
    """The trivial action."""


@provider.actions.register(name="quote", payload_schema={"symbol": str, "quantity": float, "tags": [str]})
def quote(symbol: str, quantity: float) -> dict[str, bool]:
    """As trivial, with a payload to be checked."""
    return {"ok": True}


@provider.actions.register(name="burn")
def burn_action(rounds: int) -> int:
    """CPU for a fixed amount of work."""
    return burn(rounds)


def _report(place: str) -> None:
    """Say who runs, and since when: one line into the named pipe of the benchmark."""
    with open(place, "w", encoding="ascii") as pipe:
        pipe.write(f"{os.getpid()} {time.monotonic_ns()}\n")


@provider.actions.register(name="hang_python", timeout=HANG_TIMEOUT_S)
def hang_python(pipe: str) -> None:
    """An action that swallows its soft deadline: only the kill ends it."""
    _report(pipe)
    while True:
        try:
            while True:
                pass
        except BaseException:  # the point of this action: nothing that is raised stops it
            continue


@provider.actions.register(name="hang_c", timeout=HANG_TIMEOUT_S)
def hang_c(pipe: str) -> Any:
    """A C call that does not return to the interpreter."""
    _report(pipe)
    return hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
