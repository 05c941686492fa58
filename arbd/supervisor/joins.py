"""What follows from tasks that were handed out again while under way: lines in the log, and slots that are kept back.

    flow.take ──joins──> a line for each id; a warning where its action may run longer than the hub's lease
                     └─> Brake: so many slots fewer, until its pause is over; then the link is told

Not who joins what: that is ``core.under_way``.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Final

from arbd.core.under_way import Brake, Join
from arbd.links.base import HubLink
from arbd.logs import get_logger, task_fields

_MOST_SAID: Final = 100  # lines at level info; a hub that takes no results hands thousands out again

_AGAIN: Final = "the hub handed it out again while it was under way: it runs once, and its one result answers for all"
_ANOTHER: Final = (
    "the hub handed out another task under the id of one that is under way: results name only the id, so it is "
    "answered with that one's result; give each task an id of its own"
)


class Joins:
    """The consequences of joins, and of what is known of the hub's lease. ``held``: slots that are kept back at this
    moment. ``timeouts``: how long each action may run, in seconds."""

    def __init__(self, link: HubLink) -> None:
        self._link = link
        self._brake = Brake()
        self._lease_s = math.inf  # as the hub has told it
        self._warned: set[str] = set()  # actions
        self._said = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._log = get_logger("arbd.flow")

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def held(self) -> int:
        """Slots that are kept back."""
        return self._brake.held

    def note(self, joins: Sequence[Join], timeouts: Mapping[str, float]) -> None:
        """These have joined."""
        pause_s = self._brake.hold(len(joins), time.monotonic_ns())
        if pause_s is not None:
            self._timer = self._loop.call_later(pause_s, self._release)
        for join in joins:
            if join.is_first:
                self._say(join, timeouts)

    def _release(self) -> None:
        self._timer = None
        self._brake.release(time.monotonic_ns())
        self._link.slots_changed()

    def _say(self, join: Join, timeouts: Mapping[str, float]) -> None:
        first = join.first
        fields = task_fields(first.id, first.action, first.traceparent, first.attempt)
        after_s = round(join.after_ns / 1e9, 3)
        if join.is_another:
            self._log.warning("task_id_used_twice", **fields, after_s=after_s, hint=_ANOTHER)
            return
        self._said += 1
        say = self._log.info if self._said <= _MOST_SAID else self._log.debug
        say("task_joined", **fields, after_s=after_s, hint=_AGAIN)
        if join.lease_ns and self._link.stats.protocol != "stream":  # there a lease is renewed for as long as it runs
            lease_s = join.lease_ns / 1e9
            how = f"the hub hands a task out again after about {lease_s:.3g} s, as one just was"
            self._compare(first.action, timeouts.get(first.action, 0.0), lease_s, how)

    def note_lease(self, lease_s: float, timeouts: Mapping[str, float]) -> None:
        """The hub says that it hands a task out again after so many seconds."""
        self._lease_s = lease_s
        self.look_at(timeouts)

    def look_at(self, timeouts: Mapping[str, float]) -> None:
        """Compare the timeouts of all actions with the lease, as far as the hub has told that."""
        for action, timeout_s in timeouts.items():
            self._compare(action, timeout_s, self._lease_s, f"the hub hands a task out again after {self._lease_s:g} s")

    def _compare(self, action: str, timeout_s: float, lease_s: float, how: str) -> None:
        """Warn once where an action may run for longer than the hub waits."""
        if timeout_s <= lease_s or action in self._warned:
            return
        self._warned.add(action)
        hint = (
            f"{how}, and this action may run for {timeout_s:g} s: another daemon would run it a second time. Make the "
            "hub's lease longer than that, or the action's timeout= (or the setting execution_timeout) shorter"
        )
        self._log.warning(
            "timeout_longer_than_lease", action=action, timeout=timeout_s, lease_s=round(lease_s, 3), hint=hint
        )
