"""A call that is asked for often is made once; it can be asked for again, and be taken back."""

from __future__ import annotations

import asyncio

import pytest
from stepped_loop import SteppedLoop

from arbd.supervisor.later import Later


@pytest.fixture
def loop() -> SteppedLoop:
    return SteppedLoop()


def test_it_is_called_once_however_often_it_is_asked_for(loop: SteppedLoop) -> None:
    async def scenario() -> list[float]:
        calls: list[float] = []
        later = Later(5.0, lambda: calls.append(loop.now))
        for _ in range(3):
            later.ask()
            await asyncio.sleep(1.0)
        await asyncio.sleep(60.0)
        return calls

    assert loop.run(scenario()) == [105.0]


def test_it_can_be_asked_for_again_from_inside_also_when_that_raises(loop: SteppedLoop) -> None:
    async def scenario() -> list[float]:
        calls: list[float] = []

        def call() -> None:
            calls.append(loop.now)
            if len(calls) < 3:
                later.ask()
                raise ValueError(len(calls))

        later = Later(5.0, call)
        later.ask()
        await asyncio.sleep(60.0)
        return calls

    assert loop.run(scenario()) == [105.0, 110.0, 115.0]
    assert [error.args for error in loop.reported] == [(1,), (2,)]


def test_it_is_not_called_when_it_was_taken_back_and_can_be_asked_for_again(loop: SteppedLoop) -> None:
    async def scenario() -> list[float]:
        calls: list[float] = []
        later = Later(5.0, lambda: calls.append(loop.now))
        later.cancel()
        later.ask()
        later.cancel()
        await asyncio.sleep(60.0)
        later.ask()
        await asyncio.sleep(60.0)
        return calls

    assert loop.run(scenario()) == [165.0]
