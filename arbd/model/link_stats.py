"""What a link to the hub reports: its counters, the state of its connection, and the processes that make its calls.

One definition from the link that counts to the command that shows: ``arbd status`` prints these fields. A new one has a
default, so that older commands and daemons go on understanding each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final, Literal, get_args

import msgspec

LinkState = Literal["connecting", "up", "down", "refused"]
STATES: Final[tuple[LinkState, ...]] = get_args(LinkState)
_BEST_FIRST: Final[tuple[LinkState, ...]] = ("up", "refused", "down")


class LinkProcessStats(msgspec.Struct, frozen=True):
    """One link process: the state of its connection, tasks taken from it, results it has that the hub has not accepted
    yet, and the CPU time it has used since it started ``age_s`` ago."""

    number: int
    pid: int
    state: str
    tasks: int
    unacked: int
    age_s: float
    cpu_s: float


class LinkStats(msgspec.Struct):
    """Counters since the start. ``failures`` by method and gRPC status, such as ``GetTask UNAVAILABLE``.

    ``submits`` counts calls, ``accepted`` results; ``shortened`` of them went without their payload or as an error
    that says they were too large. ``reconnects``: connections given up because they were silent. ``frames_in`` and
    ``frames_out``: messages on streams. ``protocol``: what is spoken now, ``unary`` or ``stream``. ``links``: the
    processes that speak it, where the supervisor does not.
    """

    state: str = "connecting"  # a ``LinkState``, or what a later daemon calls its own
    polls: int = 0
    empty: int = 0
    tasks: int = 0
    submits: int = 0
    accepted: int = 0
    retried: int = 0
    dropped: int = 0
    shortened: int = 0
    reconnects: int = 0
    failures: dict[str, int] = msgspec.field(default_factory=Counter)  # a plain one where it was decoded
    links: list[LinkProcessStats] = []
    protocol: str = ""
    frames_in: int = 0
    frames_out: int = 0
    cancels: int = 0

    def changed_to(self, state: LinkState) -> bool:
        """Note the state; whether it is a new one."""
        changed = self.state != state
        self.state = state
        return changed


#: The counters, in the order in which a link process publishes them.
COUNTERS: Final = tuple(field.name for field in msgspec.structs.fields(LinkStats) if field.type is int)


def total(parts: Iterable[LinkStats]) -> LinkStats:
    """The sum of what several links have counted; nothing else is in it."""
    summed = LinkStats()
    for part in parts:
        for name in COUNTERS:
            setattr(summed, name, getattr(summed, name) + getattr(part, name))
        for failure, times in part.failures.items():
            summed.failures[failure] += times
    return summed


def best_state(states: Collection[str]) -> str:
    """The state of several links as one: the best that any of them is in."""
    return next((state for state in _BEST_FIRST if state in states), "connecting")
