"""The CPU clock of a process: what all its threads, ended ones included, have run, as the scheduler counts it.

To the nanosecond; /proc counts in steps of 10 ms.
"""

from __future__ import annotations

import time
from typing import Final

_SCHED: Final = 2  # the kernel's CPUCLOCK_SCHED


def used_ns(pid: int) -> int:
    """CPU nanoseconds used so far. Raises ``OSError`` if the process has ended and been reaped."""
    return time.clock_gettime_ns((~pid << 3) | _SCHED)  # as clock_getcpuclockid(3) makes it; Python has no such call


def used_s(pid: int) -> float:
    """CPU seconds used so far; 0 if the process has ended and been reaped."""
    try:
        return used_ns(pid) / 1e9
    except OSError:
        return 0.0
