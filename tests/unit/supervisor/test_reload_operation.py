"""A reload that is followed is done when the new code serves in every slot, and fails with the reason if not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from stepped_loop import SteppedLoop

from arbd.control.reports import Operation
from arbd.supervisor.operations import OperationFailed, Operations
from arbd.supervisor.reload_operation import ReloadOperation
from arbd.supervisor.reload_outcome import ReloadOutcome, SettingChange
from arbd.supervisor.slots import Trouble


class FakeGenerations:
    """Reloads that end when they are told to."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[ReloadOutcome]] = []

    async def reloaded(self) -> ReloadOutcome:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]


class FakePool:
    """Three slots, of which some have no worker of the newest code."""

    size = 3

    def __init__(self) -> None:
        self.zygote = "of before"
        self.lacking = {0, 1, 2}
        self.troubles: dict[int, Trouble] = {}
        self.is_closed = False

    def missing(self, zygote: Any) -> set[int]:
        assert zygote is self.zygote
        return self.lacking

    def trouble_of(self, slot: int) -> Trouble | None:
        return self.troubles.get(slot)


class Followed:
    def __init__(self) -> None:
        self.generations: Any = FakeGenerations()
        self.pool: Any = FakePool()

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            self.operations = Operations()
            self.reload = ReloadOperation(self.generations, self.pool, self.operations)
            try:
                await test()
            finally:
                for asked in self.generations.asked:
                    asked.cancel()
                await asyncio.sleep(0)
                await self.operations.close()

        loop = SteppedLoop()
        loop.set_exception_handler(None)
        loop.run(run())

    def outcome(self, **words: Any) -> None:
        """The load that was asked for last ends so."""
        self.generations.asked[-1].set_result(ReloadOutcome(number=1, **words))

    async def later(self, operation: Operation, seconds: float = 0.1) -> Operation:
        await asyncio.sleep(seconds)
        found = self.operations.report(operation.id)
        assert found is not None
        return found


@pytest.fixture
def followed() -> Followed:
    return Followed()


def test_it_is_done_when_the_new_code_serves_in_every_slot(followed: Followed) -> None:
    async def test() -> None:
        operation = followed.reload.begin()
        assert (await followed.later(operation)).text == "code and settings are being loaded"
        followed.outcome(actions=2)
        followed.pool.lacking = {2}
        now = await followed.later(operation)
        assert (now.state, now.text, now.done, now.total) == ("running", "the new code serves in 2 of 3 workers", 2, 3)
        followed.pool.lacking = set()
        now = await followed.later(operation)
        assert (now.state, now.text, now.done) == ("done", "the new code serves in 3 workers", 3)
        assert now.data == {"actions": 2, "applied": {}, "needs_restart": {}}

    followed.run(test)


def test_what_changed_and_what_needs_a_restart_is_told(followed: Followed) -> None:
    async def test() -> None:
        operation = followed.reload.begin()
        await asyncio.sleep(0)
        followed.pool.lacking = set()
        followed.outcome(applied={"prefetch": SettingChange(1, 2)}, needs_restart={"workers": SettingChange(4, 8)})
        now = await followed.later(operation)
        assert "\n  prefetch was 1, is 2" in now.text
        assert "\n  workers stays 4 until a restart (now 8)" in now.text
        assert now.data["needs_restart"] == {"workers": (4, 8)}

    followed.run(test)


def test_code_that_does_not_load_is_a_failure_with_the_reason(followed: Followed) -> None:
    async def test() -> None:
        operation = followed.reload.begin()
        await asyncio.sleep(0)
        followed.outcome(failed="ZeroDivisionError")
        now = await followed.later(operation)
        assert (now.state, now.text) == ("failed", "ZeroDivisionError")

    followed.run(test)


def test_workers_of_the_new_code_that_are_unfit_are_a_failure(followed: Followed) -> None:
    async def test() -> None:
        operation = followed.reload.begin()
        await asyncio.sleep(0)
        followed.outcome()
        followed.pool.lacking = {1, 2}
        followed.pool.troubles[2] = Trouble("unfit", "no database", 1, 0)
        assert (await followed.later(operation)).state == "running"
        followed.pool.lacking = {2}
        now = await followed.later(operation)
        assert now.state == "failed"
        assert now.text.endswith("2 of 3 workers; worker 2 is out of service, and is tried again: no database")

    followed.run(test)


def test_where_not_one_worker_of_the_new_code_is_fit_nobody_waits_for_ever(followed: Followed) -> None:
    async def test() -> None:
        followed.pool.troubles = dict.fromkeys(range(3), Trouble("unfit", "of before", 1, 0))
        operation = followed.reload.begin()
        assert (await followed.later(operation)).state == "running"
        followed.pool.zygote = "of the new code"
        followed.pool.troubles = dict.fromkeys(range(2), Trouble("unfit", "no database", 1, 0))
        assert (await followed.later(operation)).state == "running"
        followed.pool.troubles[2] = Trouble("unfit", "no database", 1, 0)
        now = await followed.later(operation)
        assert (now.state, now.text[-11:]) == ("failed", "no database")

    followed.run(test)


@pytest.mark.parametrize("first_fails", [False, True])
def test_asked_again_it_ends_when_the_last_load_has(followed: Followed, first_fails: bool) -> None:
    async def test() -> None:
        followed.pool.lacking = {0}
        operation = followed.reload.begin()
        await asyncio.sleep(0)
        if not first_fails:
            followed.outcome()
            await asyncio.sleep(0.1)
        assert followed.reload.begin().id == operation.id
        await asyncio.sleep(0)
        if first_fails:
            followed.generations.asked[0].set_result(ReloadOutcome(number=1, failed="too early"))
        followed.pool.lacking = set()
        assert (await followed.later(operation)).state == "running"
        followed.outcome()
        assert (await followed.later(operation)).state == "done"

    followed.run(test)


def test_a_daemon_that_is_about_to_end_loads_nothing(followed: Followed) -> None:
    async def test() -> None:
        operation = followed.reload.begin()
        await asyncio.sleep(0)
        followed.outcome()
        followed.pool.is_closed = True
        with pytest.raises(OperationFailed, match="about to end"):
            followed.reload.begin()
        assert (await followed.later(operation)).state == "failed"

    followed.run(test)
