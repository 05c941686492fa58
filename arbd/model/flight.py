"""The times of one task that was answered, as the flight recorder keeps them."""

from __future__ import annotations

from typing import Final

import msgspec

NO_WORKER: Final = -1


class Flight(msgspec.Struct, gc=False, array_like=True):
    """One task's way through the daemon, without its payload and result. Moments are nanoseconds of the daemon's
    CLOCK_MONOTONIC; 0: it never came so far, or nobody knows.

    ``worker`` and ``pid``: the slot and the process that ran it, ``NO_WORKER`` and 0 if none did. ``sent_ns``: when it
    went into a worker's ring; 0 where that was at once. ``woke_ns``: how long before it began its worker was woken; 0:
    the worker was awake. ``answered_ns``: when it had its verdict; 0: it runs.
    """

    id: str
    action: str
    worker: int
    pid: int
    status: str
    taken_ns: int
    sent_ns: int
    since_ns: int
    woke_ns: int
    run_ns: int
    answered_ns: int
