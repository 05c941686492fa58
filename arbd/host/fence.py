"""A full memory fence, so that a store is visible before a later load is done.

x86-64 keeps stores in order, but a load may pass an earlier store to another address. Whoever says "I sleep" and
then looks once more, and whoever publishes and then looks whether the other sleeps, need exactly that order:
without it both can miss the other, and a task waits for ever.

Python has no fence, but counting a semaphore up or down is one locked instruction, and on x86-64 that is a fence: a
call into C of 30 ns. Taking and giving back a free lock is another, where no semaphore can be had: 180 ns.
"""

from __future__ import annotations

import _multiprocessing  # type: ignore[import-not-found]  # of CPython, without types
import os
import threading
from collections.abc import Callable
from typing import Final

Fence = Callable[[], object]

_COUNTING: Final = 1  # the kind of semaphore that anybody may count up
_HALF: Final = 2**30
_MOST: Final = 2**31 - 1


def make_fences() -> tuple[Fence, Fence]:
    """Two fences for the use of one thread that passes them by turns, or nearly: of one at most 2**30 times more often
    than of the other."""
    name = f"/arbd-fence-{os.getpid()}-{os.urandom(8).hex()}"  # unlinked before the call returns
    try:
        semaphore = _multiprocessing.SemLock(_COUNTING, _HALF, _MOST, name, True)
    except OSError:  # no /dev/shm, or no descriptor is left
        fence = _fence_of(threading.Lock())
        return fence, fence
    return semaphore.acquire, semaphore.release


def make_fence() -> Fence:
    """A fence for the use of one thread."""
    one, other = make_fences()

    def fence() -> None:
        one()
        other()

    return fence


def _fence_of(lock: threading.Lock) -> Fence:
    acquire, release = lock.acquire, lock.release

    def fence() -> None:
        acquire(False)
        release()

    return fence
