"""One call of a function a moment from now, however often it is asked for meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Later:
    """A function that is called once, that long after it was asked for first. Of the running event loop."""

    def __init__(self, delay_s: float, call: Callable[[], object]) -> None:
        self._delay_s = delay_s
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        """Have it called, if nobody has asked yet."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._delay_s, self._on_time)

    def cancel(self) -> None:
        """Have it not called, until somebody asks again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        self._timer = None  # first: it may be asked for again in there
        self._call()
