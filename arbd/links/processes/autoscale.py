"""When to add a link process, and when to take one away: ``hub.links = auto``. Pure; one look is one second.

    more    tasks come, polls are not answered "nothing", workers have nothing to do, and whoever makes the calls has
            no CPU left; and, once there are link processes, the supervisor has some: then another link could help
    fewer   one less could do the same work and have half of its CPU left

A change needs a row of looks that agree. After each one the row begins anew, so what a change did is seen before the
next. One that has to be taken back makes the next wait longer: a load that swings does not start processes each time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

BUSY: Final = 0.8
"""Of one core: what the process that makes the calls uses when it can do no more. The rest goes to waiting."""

_SUPERVISOR_FULL: Final = 0.95
_CALM: Final = 0.5  # far enough from BUSY, so that one less does not mean one more at once
_EMPTY: Final = 0.05  # of the answers to polls: more say that the hub has no tasks left
_MOST_SHRINK_AFTER: Final = 3600


class Second(NamedTuple):
    """What was seen in one second: tasks and polls without one, the share of moments at which a worker had nothing to
    do, and CPU in cores: of each process that made calls (the mean) and of the supervisor."""

    tasks: int
    empty: int
    idle: float
    caller_cpu: float
    supervisor_cpu: float


class Autoscale:
    """``most``: links at most. ``busy``: a core's share; ``idle``: of the moments; rows in looks."""

    def __init__(
        self, most: int, *, busy: float = BUSY, idle: float = 0.25, grow_after: int = 3, shrink_after: int = 60
    ) -> None:
        self.count = 0
        self._most = most
        self._busy = busy
        self._idle = idle
        self._grow_after = grow_after
        self._shrink_after = shrink_after
        self._has_shrunk = False
        self._hot = 0  # looks in a row that want more
        self._cool = 0  # and that could do with less

    def look(self, second: Second) -> int:
        """How many links there should be from now on: as before, one more or one less."""
        self._hot = self._hot + 1 if self._wants_more(second) else 0
        self._cool = self._cool + 1 if self._could_do_with_less(second) else 0
        if self._hot >= self._grow_after and self.count < self._most:
            self.count += 1
            if self._has_shrunk:
                self._has_shrunk = False
                self._shrink_after = min(_MOST_SHRINK_AFTER, 2 * self._shrink_after)
            self._begin_anew()
        elif self._cool >= self._shrink_after and self.count:
            self.count -= 1
            self._has_shrunk = True
            self._begin_anew()
        return self.count

    def _begin_anew(self) -> None:
        self._hot = self._cool = 0

    def _wants_more(self, second: Second) -> bool:
        return (
            second.tasks > 0
            and second.empty <= _EMPTY * second.tasks
            and second.idle >= self._idle
            and second.caller_cpu >= self._busy
            and (not self.count or second.supervisor_cpu < _SUPERVISOR_FULL)
        )

    def _could_do_with_less(self, second: Second) -> bool:
        if not self.count:
            return False
        if self.count == 1:  # the supervisor would make the calls again
            return second.caller_cpu + second.supervisor_cpu <= _CALM
        return second.caller_cpu * self.count / (self.count - 1) <= _CALM
