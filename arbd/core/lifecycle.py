"""The life of a worker, as a table.

    STARTING ──ready──> SERVING ──retire──> RETIRING
        │                  │                   │
        ├──kill──> CONDEMNED <──kill───────────┤
        │              │                       │
        └─exited──> GONE <──exited─────────────┘          every state can be left by ``exited``

An event that a state does not know is a bug and raises. ``exited`` before ``ready`` is a worker that could
not boot; what that means is decided in ``arbd.core.restarts``.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from arbd.errors import InvariantError


class State(Enum):
    """Where a worker stands."""

    STARTING = "starting"  # forked, not yet heard of
    SERVING = "serving"  # takes tasks
    RETIRING = "retiring"  # takes no new tasks; leaves when it has finished those it has
    CONDEMNED = "condemned"  # being killed
    GONE = "gone"


class Event(Enum):
    """What can happen to a worker."""

    READY = "ready"
    RETIRE = "retire"
    KILL = "kill"
    EXITED = "exited"


_TABLE: Final[dict[tuple[State, Event], State]] = {
    (State.STARTING, Event.READY): State.SERVING,
    (State.STARTING, Event.KILL): State.CONDEMNED,
    (State.STARTING, Event.EXITED): State.GONE,
    (State.SERVING, Event.RETIRE): State.RETIRING,
    (State.SERVING, Event.KILL): State.CONDEMNED,
    (State.SERVING, Event.EXITED): State.GONE,
    (State.RETIRING, Event.KILL): State.CONDEMNED,
    (State.RETIRING, Event.EXITED): State.GONE,
    (State.CONDEMNED, Event.READY): State.CONDEMNED,  # it had said so before the signal struck
    (State.CONDEMNED, Event.EXITED): State.GONE,
}


def step(state: State, event: Event) -> State:
    """The state after an event; raises ``InvariantError`` for a pair the table does not have."""
    after = _TABLE.get((state, event))
    if after is None:
        raise InvariantError(f"a worker that is {state.value} cannot have the event {event.value}")
    return after
