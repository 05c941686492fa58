"""Whether a task may run now, and for how long at most: asked when it comes, and again when its turn comes.

    closed: the daemon ends ─> aborted          no such action, perhaps since a reload ─> unknown
    too large ─> payload too large              its action is paused ─> "limit": the caller keeps it, or says so
    nobody wants its result any more ─> expired

It decides, and changes no task. One look-up by the action's name tells that there is such an action, that it is not
paused, and its timeout.
"""

from __future__ import annotations

import math
import time
from typing import Final

from arbd.core.paused import PausedActions
from arbd.model.response import (
    ProviderResponse,
    aborted,
    action_not_found,
    error,
    expired,
    paused,
    payload_too_large,
)
from arbd.model.task import Task

# An id travels in the ring even where the payload goes by reference: it must fit the smallest ring in any language.
_MAX_ID_CHARS: Final = 1000
_PAUSED_WAIT_S: Final = 30.0  # what callers of a paused action are told: nobody knows how long, and they come in masses


class Admission:
    """The rules by which tasks may run. ``timeouts``: of every action there is, in seconds; ``is_closed``: none may
    any more."""

    def __init__(self, max_payload: int) -> None:
        self.max_payload = max_payload
        self.timeouts: dict[str, float] = {}
        self.paused = PausedActions()
        self.is_closed = False
        self._runnable: dict[str, float] = {}  # timeouts without those of paused actions

    def offer(self, timeouts: dict[str, float]) -> None:
        """These are the actions from now on."""
        self.timeouts = timeouts
        self._note_paused()

    def pause(self, action: str, now: float) -> bool:
        """No task of this action may run, until ``resume``; whether it was not paused before."""
        is_new = self.paused.pause(action, now)
        self._note_paused()
        return is_new

    def resume(self, action: str) -> list[Task]:
        """Tasks of this action may run again; those that had waited for that."""
        waited = self.paused.resume(action)
        self._note_paused()
        return waited

    def _note_paused(self) -> None:
        self._runnable = {action: timeout for action, timeout in self.timeouts.items() if action not in self.paused}

    def timeout_of(self, task: Task) -> float | ProviderResponse:
        """How long a task that has just come may run, in seconds; or why it is refused."""
        if self.is_closed:
            return aborted(task.action)
        if len(task.id) > _MAX_ID_CHARS:
            return error(f"The task's id has {len(task.id)} characters; this provider takes at most {_MAX_ID_CHARS}")
        limit = self.max_payload
        if len(task.payload) > limit:
            return payload_too_large(len(task.payload), limit)
        if len(task.account) > limit:
            return payload_too_large(len(task.account), limit, "account")
        timeout = self._runnable.get(task.action)
        return self.time_left(task) if timeout is None or task.deadline != math.inf else timeout

    def time_left(self, task: Task) -> float | ProviderResponse:
        """How long it may run from now on, not beyond the moment from which nobody wants its result; or why it may not
        run."""
        timeout = self._runnable.get(task.action)
        if timeout is None:
            if task.action in self.timeouts:
                return paused(task.action, _PAUSED_WAIT_S)
            return action_not_found(task.action, list(self.timeouts))
        if task.deadline == math.inf:
            return timeout
        left = task.deadline - time.monotonic()
        return min(timeout, left) if left > 0 else expired(task.action)
