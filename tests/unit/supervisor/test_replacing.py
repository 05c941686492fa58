"""Workers are replaced one at a time, each once its successor serves; where there is none, that is the answer. The pool
is the real one, its workers have no process, the clock jumps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from pool_support import FakeZygote, PoolRig
from stepped_loop import SteppedLoop

from arbd.control.reports import Operation
from arbd.core.lifecycle import State
from arbd.ipc.notice import Leaving, Unfit
from arbd.supervisor.operations import OperationFailed, Operations
from arbd.supervisor.replacing import Replacing


class Replaced(PoolRig):
    """A pool of two slots that serve, and what replaces its workers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stepped = SteppedLoop()
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(time, "monotonic", self.stepped.time)
        monkeypatch.setattr(time, "monotonic_ns", lambda: round(self.stepped.now * 1e9))

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            PoolRig.__init__(self, self._monkeypatch, self.stepped)
            self.operations = Operations()
            self.replacing = Replacing(self.pool, self.operations)
            try:
                self.move_to(self.zygote)
                self.boot()
                await test()
            finally:
                await self.operations.close()
                self.pool.close()

        self.stepped.run(run())

    async def later(self, operation: Operation, seconds: float = 0.1) -> Operation:
        await asyncio.sleep(seconds)
        found = self.operations.report(operation.id)
        assert found is not None
        return found

    def leave(self, slot: int) -> None:
        """The one of that slot that was told to leaves, and ends."""
        worker = self.of(slot, State.RETIRING)
        self.say(worker, Leaving("told"))
        self.end(worker)

    def refused(self, slot: int | None = None) -> str:
        with pytest.raises(OperationFailed) as caught:
            self.replacing.begin(slot)
        return str(caught.value)


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> Replaced:
    return Replaced(monkeypatch)


def test_all_are_replaced_one_at_a_time_each_once_its_successor_serves(replaced: Replaced) -> None:
    async def test() -> None:
        operation = replaced.replacing.begin()
        assert replaced.zygote.slots == [0, 1, 0]
        assert len([each for each in replaced.workers() if each.state is State.SERVING]) == 2
        replaced.boot()
        assert replaced.zygote.slots == [0, 1, 0]
        replaced.leave(0)
        now = await replaced.later(operation)
        assert (now.state, now.done, now.total, replaced.zygote.slots) == ("running", 1, 2, [0, 1, 0, 1])
        replaced.boot()
        replaced.leave(1)
        now = await replaced.later(operation)
        assert (now.state, now.text, now.done) == ("done", "2 workers replaced", 2)
        assert [why.reason for _, _, why in replaced.pool.history] == ["command", "command"]

    replaced.run(test)


def test_one_is_replaced_and_the_others_stay(replaced: Replaced) -> None:
    async def test() -> None:
        stays = replaced.of(0)
        operation = replaced.replacing.begin(1)
        replaced.boot()
        replaced.leave(1)
        assert (await replaced.later(operation)).text == "1 worker replaced"
        assert replaced.of(0) is stays

    replaced.run(test)


def test_it_waits_for_what_the_old_one_runs_and_says_so(replaced: Replaced) -> None:
    async def test() -> None:
        replaced.events.busy = {worker.id for worker in replaced.workers()}
        operation = replaced.replacing.begin(1)
        replaced.boot()
        now = await replaced.later(operation, 30.0)
        assert (now.state, now.text) == ("running", "0 of 1 replaced; worker 1 ends when its tasks have")

    replaced.run(test)


def test_a_successor_that_is_unfit_is_the_answer_and_the_old_one_serves_on(replaced: Replaced) -> None:
    async def test() -> None:
        operation = replaced.replacing.begin(1)
        [new] = [worker for worker in replaced.workers() if worker.state is State.STARTING]
        replaced.born(new)
        replaced.say(new, Unfit("no database"))
        replaced.end(new, 1)
        now = await replaced.later(operation)
        assert now.state == "failed"
        assert now.text == "0 of 1 replaced; no new worker can be started for 1: no database"
        assert replaced.of(1).state is State.SERVING

    replaced.run(test)


def test_who_dies_or_is_replaced_by_a_reload_meanwhile_is_replaced(replaced: Replaced) -> None:
    async def test() -> None:
        operation = replaced.replacing.begin()
        replaced.end(replaced.of(1), -9)
        newer = FakeZygote("newer")
        replaced.move_to(newer)
        replaced.boot(*replaced.workers(newer))
        for worker in replaced.workers(replaced.zygote):
            if worker.state is State.RETIRING:
                replaced.say(worker, Leaving("told"))
            replaced.end(worker)
        assert (await replaced.later(operation)).state == "done"

    replaced.run(test)


@pytest.mark.parametrize("slot", [-1, 2, 1 << 70])
def test_a_worker_that_there_is_not_is_refused(replaced: Replaced, slot: int) -> None:
    async def test() -> None:
        assert replaced.refused(slot) == f"there is no worker {slot}; workers are 0 to 1"

    replaced.run(test)


def test_a_slot_out_of_service_has_nobody_to_be_replaced(replaced: Replaced) -> None:
    async def test() -> None:
        worker = replaced.of(1)
        replaced.work(worker)
        replaced.end(worker, -9)
        assert "just being started" in replaced.refused(1)
        [new] = [worker for worker in replaced.workers() if worker.state is State.STARTING]
        replaced.born(new)
        replaced.say(new, Unfit("no database"))
        replaced.end(new, 1)
        assert replaced.refused(1).endswith("out of service, and is tried again by itself: no database")

    replaced.run(test)


def test_where_nobody_serves_nobody_is_replaced(replaced: Replaced) -> None:
    async def test() -> None:
        for slot in (0, 1):
            replaced.end(replaced.of(slot), -9)
        assert "no worker serves" in replaced.refused()

    replaced.run(test)


def test_a_daemon_that_is_about_to_end_replaces_nobody(replaced: Replaced) -> None:
    async def test() -> None:
        operation = replaced.replacing.begin()
        replaced.pool.stop_replacing()
        assert "about to end" in replaced.refused()
        assert (await replaced.later(operation)).state == "failed"

    replaced.run(test)
