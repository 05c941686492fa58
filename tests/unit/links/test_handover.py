"""A channel takes over once it is connected, or when the old one is not, either; no time passes."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from arbd.links import handover

READY, CONNECTING = grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.CONNECTING
FAILED = grpc.ChannelConnectivity.TRANSIENT_FAILURE
State = grpc.ChannelConnectivity


class FakeChannel:
    """A channel with these states, one at each look; the last one stays. ``looks``: how often it was looked at."""

    def __init__(self, *states: State, changes: bool = True) -> None:
        self._states = list(states)
        self._changes = changes
        self.looks = 0

    def get_state(self, try_to_connect: bool = False) -> State:
        self.looks += 1
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]

    async def wait_for_state_change(self, last: State) -> None:
        """Return at once, or never."""
        await (asyncio.sleep(0) if self._changes else asyncio.Event().wait())


def late(new: Any, old: Any) -> int:
    """Hand over; how often it was told that this is late."""
    told: list[None] = []
    asyncio.run(handover.until_it_may_take_over(new, old, lambda: told.append(None)))
    return len(told)


def test_it_takes_over_as_soon_as_it_is_connected() -> None:
    old = FakeChannel(READY)
    assert late(FakeChannel(READY), old) == 0
    assert late(FakeChannel(CONNECTING, FAILED, CONNECTING, READY), old) == 0
    assert old.looks == 0


def test_while_the_old_one_is_connected_it_is_tried_further_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "LATE_S", 0)
    old = FakeChannel(READY)
    assert late(FakeChannel(CONNECTING, FAILED, CONNECTING, READY, changes=False), old) == 1
    assert old.looks == 3


def test_it_takes_over_where_there_is_nothing_to_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "LATE_S", 0)
    assert late(FakeChannel(CONNECTING, changes=False), FakeChannel(FAILED)) == 0
    assert late(FakeChannel(CONNECTING, changes=False), FakeChannel(READY, READY, FAILED)) == 1
