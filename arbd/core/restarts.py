"""The restart policy: when a worker or zygote is started again after it ended, and when to give up.

A worker that ends while it serves is replaced at once, as often as it happens: its task is to blame, not the daemon.
What ends before it was ready is a failed start: the next one waits, longer each time. After so many failures in a row
(over all workers; one that boots ends the row) the daemon gives up, unless some worker still serves: then it does its
work meanwhile, and tries for ever. The shape is the restart intensity of Erlang/OTP supervisors, with a pause instead
of a period.

A machine that has no process or descriptor to give is tried more often than code that fails.
"""

from __future__ import annotations

from typing import Final

from arbd.core.backoff import Backoff

MAX_CODE_FAILURES: Final = 5  # in a row: 1.5 s of pauses
MAX_MACHINE_FAILURES: Final = 7  # 6.3 s of pauses
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0


class Restarts:
    """The count of failed starts in a row. At ``max_code_failures`` of them, by code that fails, it gives up."""

    def __init__(self, max_code_failures: int = MAX_CODE_FAILURES) -> None:
        self._max_code_failures = max_code_failures
        self._failures = 0
        self._backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S, jitter=float)

    def succeeded(self) -> None:
        """Record a successful start: the row has ended."""
        self._failures = 0
        self._backoff.reset()

    def failed(self, *, by_machine: bool, others_serve: bool) -> float | None:
        """Record a failed start: seconds to wait before the next one, or ``None`` to give up. ``by_machine``: there was
        no process, descriptor or memory to be had. ``others_serve``: tasks are run meanwhile."""
        self._failures += not others_serve  # while others serve there is no end to trying
        most = MAX_MACHINE_FAILURES if by_machine else self._max_code_failures
        if self._failures >= most:
            return None
        return self._backoff.next_s()
