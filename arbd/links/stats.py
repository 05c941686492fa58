"""What a hub link counts. Read by metrics and the control socket; written by the link alone."""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal, get_args

import msgspec

LinkState = Literal["connecting", "up", "down", "refused"]
STATES: Final[tuple[LinkState, ...]] = get_args(LinkState)
#: The counters that a link process publishes, in this order.
COUNTERS: Final = ("polls", "empty", "tasks", "submits", "accepted", "retried", "dropped", "shortened", "reconnects")


class LinkProcess(msgspec.Struct, frozen=True):
    """One link process: tasks taken from it, and results it has that the hub has not accepted yet."""

    number: int
    pid: int
    state: LinkState
    tasks: int
    unacked: int
    age_s: float
    cpu_s: float


class LinkStats(msgspec.Struct):
    """Counters since the start. ``failures`` by method and gRPC status, such as ``GetTask UNAVAILABLE``.

    ``submits`` counts calls, ``accepted`` results; ``shortened`` of them went without their payload or as an error
    that says they were too large. ``reconnects``: connections given up because they were silent. ``frames_in`` and
    ``frames_out``: messages on streams. ``protocol``: what is spoken now, ``unary`` or ``stream``. ``links``: the
    processes that speak it, where it is not this one.
    """

    polls: int = 0
    empty: int = 0
    tasks: int = 0
    submits: int = 0
    accepted: int = 0
    retried: int = 0
    dropped: int = 0
    shortened: int = 0
    reconnects: int = 0
    frames_in: int = 0
    frames_out: int = 0
    cancels: int = 0
    failures: Counter[str] = msgspec.field(default_factory=Counter)
    state: LinkState = "connecting"
    protocol: str = "unary"
    links: list[LinkProcess] = []

    def changed_to(self, state: LinkState) -> bool:
        """Note the state; whether it is a new one."""
        changed = self.state != state
        self.state = state
        return changed

    def add(self, other: LinkStats) -> None:
        """Count what another link has counted as well."""
        for name in COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failures.update(other.failures)
