"""The life cycle of a worker, as a table of states and events.

    STARTING ──ready──> SERVING ──retire──> RETIRING
        │                │   └──leave──┐       │ leave
        │ leave (unfit)  │             v       v
        ├────────────────┼─────────> LEAVING <─┤
        │                │             │       │
        └──kill──────────┴─> CONDEMNED <───────┘          every state can be left by ``exited``, to GONE

    ready    it has said that it takes tasks; one that is being killed may say so before the signal arrives
    retire   it was told to leave: it finishes what it has, then says ``Leaving``
    leave    it has said that it begins no task any more: ``Leaving``, of its own accord or because it was told to, or
             ``Unfit``. Its stop phase is timed from here. One that is being killed may still say so; one that was ready
             before its zygote said that it is there leaves from STARTING
    kill     SIGKILL is on its way, for whatever reason
    exited   its process is gone, or is given up

An event that a state does not know is a bug and raises. ``exited`` before ``ready`` is a worker that could
not boot; what that means is decided in ``arbd.core.restarts``.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from arbd.errors import InvariantError


class State(Enum):
    """A state of a worker."""

    STARTING = "starting"  # forked, not yet ready
    SERVING = "serving"  # takes tasks
    RETIRING = "retiring"  # takes no new tasks; leaves when it has finished those it has
    LEAVING = "leaving"  # begins nothing any more: ends in order, within worker.stop_timeout
    CONDEMNED = "condemned"  # being killed
    GONE = "gone"


class WorkerEvent(Enum):
    """An event in the life of a worker."""

    READY = "ready"
    RETIRE = "retire"
    LEAVE = "leave"
    KILL = "kill"
    EXITED = "exited"


_TABLE: Final[dict[tuple[State, WorkerEvent], State]] = {
    (State.STARTING, WorkerEvent.READY): State.SERVING,
    (State.STARTING, WorkerEvent.LEAVE): State.LEAVING,
    (State.STARTING, WorkerEvent.KILL): State.CONDEMNED,
    (State.STARTING, WorkerEvent.EXITED): State.GONE,
    (State.SERVING, WorkerEvent.RETIRE): State.RETIRING,
    (State.SERVING, WorkerEvent.LEAVE): State.LEAVING,
    (State.SERVING, WorkerEvent.KILL): State.CONDEMNED,
    (State.SERVING, WorkerEvent.EXITED): State.GONE,
    (State.RETIRING, WorkerEvent.LEAVE): State.LEAVING,
    (State.RETIRING, WorkerEvent.KILL): State.CONDEMNED,
    (State.RETIRING, WorkerEvent.EXITED): State.GONE,
    (State.LEAVING, WorkerEvent.KILL): State.CONDEMNED,
    (State.LEAVING, WorkerEvent.EXITED): State.GONE,
    (State.CONDEMNED, WorkerEvent.READY): State.CONDEMNED,  # it was ready before the signal arrived
    (State.CONDEMNED, WorkerEvent.LEAVE): State.CONDEMNED,  # it had said so before the signal arrived
    (State.CONDEMNED, WorkerEvent.EXITED): State.GONE,
}


def step(state: State, event: WorkerEvent) -> State:
    """The state after an event. Raises ``InvariantError`` for a pair that the table does not have."""
    after = _TABLE.get((state, event))
    if after is None:
        raise InvariantError(f"a worker that is {state.value} cannot have the event {event.value}")
    return after
