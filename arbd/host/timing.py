"""The clocks, locks and sleep of a process, for whoever waits and measures in it."""

from __future__ import annotations

import threading
import time

from arbd.interrupts import interruptible


class ProcessTiming:
    """The clocks of this process. Monotonic, except ``utc_ns``, which is for calendars only."""

    clock = staticmethod(time.monotonic_ns)
    cpu_clock = staticmethod(time.thread_time_ns)
    utc_ns = staticmethod(time.time_ns)
    new_lock = staticmethod(threading.Lock)

    @interruptible
    def sleep(self, ns: int) -> None:
        """Sleep; a signal's exception ends it, whoever sleeps."""
        time.sleep(max(0, ns) / 1e9)
