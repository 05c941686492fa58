"""The restart policy: when a worker or zygote is started again after it ended, and when to give up.

    ended                                        its slot gets another one
    after it had finished tasks, or to be        at once, as often as it happens: a task is to blame, not the daemon
    replaced
    ready, in its first task                     at once; in a row after a pause, at most ``LONGEST_TASK_PAUSE_S``:
                                                 each such end takes one task with it, so there is an end to them
    ready, before it had any task                after a pause, longer each time
    unfit: a start hook or a resource failed     after a pause of its own, longer each time, for ever
    before it was ready                          after a pause; so many in a row, and the daemon gives up

The last is a failed start, counted over all workers; one that boots ends the row, and while some worker still serves
the daemon does its work and tries for ever. The shape is the restart intensity of Erlang/OTP supervisors, with a pause
instead of a period. A machine that has no process or descriptor to give is tried more often than code that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import backoff

from arbd.core.backoff import Backoff

MAX_CODE_FAILURES: Final = 5  # in a row: 1.5 s of pauses
MAX_MACHINE_FAILURES: Final = 7  # 6.3 s of pauses
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
FIRST_TASK_PAUSE_S: Final = 0.01
LONGEST_TASK_PAUSE_S: Final = 0.1
FIRST_UNFIT_PAUSE_S: Final = 0.25
LONGEST_UNFIT_PAUSE_S: Final = 30.0  # a database that is back is used half a minute later, at most


def half_jitter(pause_s: float) -> float:
    """A pause of which half is random: all slots lack the same database, and are not to come back to it together."""
    return pause_s / 2 + backoff.full_jitter(pause_s / 2)


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


class SlotRestarts:
    """The pauses of one slot, whose workers end too soon. ``jitter`` is for those that are unfit."""

    def __init__(self, jitter: Callable[[float], float] = half_jitter) -> None:
        self._died_at_task = False
        self._at_task = Backoff(FIRST_TASK_PAUSE_S, LONGEST_TASK_PAUSE_S, jitter=float)
        self._idle = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S, jitter=float)
        self._unfit = Backoff(FIRST_UNFIT_PAUSE_S, LONGEST_UNFIT_PAUSE_S, jitter)

    def worked(self) -> None:
        """Record the end of a worker that had finished tasks."""
        self._died_at_task = False
        self._at_task.reset()
        self._idle.reset()

    def was_fit(self) -> None:
        """Record a worker that became ready."""
        self._unfit.reset()

    def ended_at_first_task(self) -> float:
        """Record the end of a worker that was ready, and ran its first task: seconds to wait."""
        if not self._died_at_task:
            self._died_at_task = True
            return 0.0
        return self._at_task.next_s()

    def ended_idle(self) -> float:
        """Record the end of a worker that was ready, and had not begun any task: seconds to wait."""
        return self._idle.next_s()

    def was_unfit(self) -> float:
        """Record a worker whose start hooks or resources failed: seconds to wait."""
        return self._unfit.next_s()
