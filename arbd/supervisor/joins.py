"""What follows from tasks that were handed out again while under way: lines in the log, and slots that are kept back.

    flow.take ──joins──> a line for each id; a warning where its action may run longer than the hub's lease
                     └─> Brake: so many slots fewer, until its pause is over; then the link is told

Not who joins what: that is ``core.under_way``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
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
    """The consequences of joins. ``held``: slots that are kept back at this moment. ``timeout_of``: how long an action
    may run, in seconds; ``None`` if it is not known."""

    def __init__(self, link: HubLink, timeout_of: Callable[[str], float | None]) -> None:
        self._link = link
        self._timeout_of = timeout_of
        self._brake = Brake()
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

    def note(self, joins: Sequence[Join]) -> None:
        """These have joined."""
        pause_s = self._brake.hold(len(joins), time.monotonic_ns())
        if pause_s is not None:
            self._timer = self._loop.call_later(pause_s, self._release)
        for join in joins:
            if join.is_first:
                self._say(join)

    def _release(self) -> None:
        self._timer = None
        self._brake.release(time.monotonic_ns())
        self._link.slots_changed()

    def _say(self, join: Join) -> None:
        first = join.first
        fields = task_fields(first.id, first.action, first.traceparent)
        after_s = round(join.after_ns / 1e9, 3)
        if join.is_another:
            self._log.warning("task_id_used_twice", **fields, after_s=after_s, hint=_ANOTHER)
            return
        self._said += 1
        say = self._log.info if self._said <= _MOST_SAID else self._log.debug
        say("task_joined", **fields, after_s=after_s, hint=_AGAIN)
        if join.lease_ns and self._link.stats.protocol != "stream":  # there a lease is renewed for as long as it runs
            self._compare(first.action, join.lease_ns / 1e9)

    def _compare(self, action: str, lease_s: float) -> None:
        """Warn once where an action may run for longer than the hub waits."""
        timeout_s = self._timeout_of(action)
        if timeout_s is None or timeout_s <= lease_s or action in self._warned:
            return
        self._warned.add(action)
        hint = (
            f"the hub hands a task out again after about {lease_s:.3g} s, as one just was, and this action may run for "
            f"{timeout_s:g} s: another daemon would run it a second time. Make the hub's lease longer than that, or "
            "the action's timeout= (or the setting execution_timeout) shorter"
        )
        self._log.warning(
            "timeout_longer_than_lease", action=action, timeout=timeout_s, lease_s=round(lease_s, 3), hint=hint
        )
