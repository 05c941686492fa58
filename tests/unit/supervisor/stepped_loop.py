"""A real event loop in which no time is waited for: with nothing left to do, its clock jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Ready descriptors, or else the clock jumps."""

    loop: SteppedLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout != 0:
            if timeout is None:
                raise RuntimeError("nothing will ever happen in this loop again")
            self.loop.now += timeout
        return events


class SteppedLoop(asyncio.SelectorEventLoop):
    """``now``: seconds of its clock. ``reported``: what its exception handler was told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reported: list[BaseException] = []
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)
        self.set_exception_handler(lambda _, context: self.reported.append(context["exception"]))

    def time(self) -> float:
        return self.now

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it to its end, and close the loop: nothing may be left in it."""
        asyncio.set_event_loop(self)
        try:
            result = self.run_until_complete(coroutine)
            left = asyncio.all_tasks(self)
            for task in left:
                task.cancel()
            if left:
                self.run_until_complete(asyncio.wait(left))
            assert not left, f"tasks were left: {left}"
            return result
        finally:
            asyncio.set_event_loop(None)
            self.close()
