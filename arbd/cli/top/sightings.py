"""What is known of a daemon: its last reports, and what a few seconds of them make of rates. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from arbd.cli.top.rates import DaemonRates, is_of_same_daemon, rates
from arbd.control.reports import ActionReport, LimitReport, NotableEvent, Operation, StatusReport
from arbd.host.cpu_times import CpuTime, shares

_SPAN: Final = 4  # looks: rates are those of three seconds, so that an action of a second does not flicker
_MOST_EVENTS: Final = 256


class Sighting(NamedTuple):
    """The answers of one look, taken at ``at`` seconds of this machine's monotonic clock."""

    at: float
    status: StatusReport
    limits: list[LimitReport]
    events: list[NotableEvent]
    operations: list[Operation]
    cpus: dict[int, CpuTime]


class Seen(NamedTuple):
    """One notable event, and when it happened."""

    at: float
    event: NotableEvent


def in_order(actions: Sequence[ActionReport]) -> list[ActionReport]:
    """Actions as they are shown: those that have had tasks before those that have not, each as they are offered."""
    return sorted(actions, key=lambda each: not (each.success or each.error or each.limit or each.running))


class Sightings:
    """The looks at one daemon, which may be started anew meanwhile."""

    def __init__(self) -> None:
        self._sightings: deque[Sighting] = deque(maxlen=_SPAN)
        self.events: deque[Seen] = deque(maxlen=_MOST_EVENTS)
        self.last_event = 0

    def __bool__(self) -> bool:
        return bool(self._sightings)

    @property
    def last(self) -> Sighting:
        """The last one."""
        return self._sightings[-1]

    def add(self, look: Sighting) -> bool:
        """Take one more; whether it is of the daemon of the last one."""
        is_same = bool(self._sightings) and is_of_same_daemon(self.last.status, look.status)
        if not is_same:
            self._sightings.clear()
            self.events.clear()
            self.last_event = 0
        self._sightings.append(look)
        for event in look.events:
            if event.number > self.last_event:
                self.events.append(Seen(look.at - event.ago_s, event))
                self.last_event = event.number
        return is_same

    def rates(self) -> DaemonRates:
        """What the daemon does in a second."""
        first = self._sightings[0] if len(self._sightings) > 1 else None
        return rates(first.status if first else None, self.last.status)

    def cpus(self) -> dict[int, float]:
        """How busy each CPU of the machine is; nothing after one look."""
        return shares(self._sightings[0].cpus, self.last.cpus)
