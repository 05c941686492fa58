"""One timer of a link, set to a moment again and again."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable


class Alarm:
    """A timer for one callback. ``at``: the moment it is set to, in seconds of ``time.monotonic``; infinity: it is not
    set."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.at = math.inf
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Have the callback called at that moment, and not at the one before; infinity: some event will do it."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self.at = at
        if at != math.inf:
            # One millisecond more: uvloop rounds, and a timer that fires early would spin until its time has come.
            delay_s = max(0.0, at - time.monotonic()) + 0.001
            self._handle = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def cancel(self) -> None:
        """Have nothing called."""
        self.set(math.inf)

    def _ring(self) -> None:
        self.at = math.inf
        self._handle = None
        self._callback()
