"""A worker moves as the table says and in no other way."""

from __future__ import annotations

from itertools import product

import pytest

from arbd.core.lifecycle import State, WorkerEvent, step
from arbd.errors import InvariantError

TABLE = {
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
    (State.CONDEMNED, WorkerEvent.READY): State.CONDEMNED,
    (State.CONDEMNED, WorkerEvent.LEAVE): State.CONDEMNED,
    (State.CONDEMNED, WorkerEvent.EXITED): State.GONE,
}
PAIRS = list(product(State, WorkerEvent))


@pytest.mark.parametrize(("state", "event"), TABLE)
def test_every_known_pair(state: State, event: WorkerEvent) -> None:
    assert step(state, event) is TABLE[state, event]


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair not in TABLE])
def test_every_other_pair_raises(state: State, event: WorkerEvent) -> None:
    with pytest.raises(InvariantError) as caught:
        step(state, event)
    assert str(caught.value) == f"a worker that is {state.value} cannot have the event {event.value}"


def test_every_state_can_end_and_gone_is_the_end() -> None:
    assert {state for state in State if TABLE.get((state, WorkerEvent.EXITED)) is State.GONE} == set(State) - {
        State.GONE
    }
    assert not [event for state, event in TABLE if state is State.GONE]
