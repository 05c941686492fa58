"""When something that ended is started again, and when to give up: workers that cannot boot, zygotes that cannot load.

A worker that ends while it serves is replaced at once, as often as it happens: its task is to blame, not the daemon.
What ends before it was ready is a failed start: the next one waits, longer each time. After so many failures in a row
(over all workers; one that boots ends the row) there is no sense in trying on, unless some worker still serves: then
the daemon does its work meanwhile, and tries for ever. The shape is OTP's restart intensity, with a pause instead of a
period.

A machine that has no process or descriptor to give is met with more patience than code that fails.
"""

from __future__ import annotations

from typing import Final

from arbd.core.backoff import Backoff

MAX_CODE_FAILURES: Final = 5  # in a row: 1.5 s of pauses
MAX_MACHINE_FAILURES: Final = 7  # 6.3 s of pauses
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0


class Restarts:
    """Counts failed starts in a row. ``max_code_failures``: so many of them, by code that fails, are the last."""

    def __init__(self, max_code_failures: int = MAX_CODE_FAILURES) -> None:
        self._max_code_failures = max_code_failures
        self._failures = 0
        self._backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S, jitter=float)

    def succeeded(self) -> None:
        """A start succeeded: the row has ended."""
        self._failures = 0
        self._backoff.reset()

    def failed(self, *, by_machine: bool, others_serve: bool) -> float | None:
        """A start failed. Seconds to wait before the next one, or ``None``: give up.

        ``by_machine``: there was no process, descriptor or memory to be had. ``others_serve``: tasks are run meanwhile.
        """
        self._failures += not others_serve  # who serves has all the time there is
        most = MAX_MACHINE_FAILURES if by_machine else self._max_code_failures
        if self._failures >= most:
            return None
        return self._backoff.next_s()
