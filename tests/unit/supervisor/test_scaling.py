"""A daemon has as many workers as was asked for last; what cannot be is refused, and what goes loses nothing. The pool
is the real one, its workers have no process, the clock jumps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pool_support import FakeZygote, PoolRig, ProcesslessWorker
from stepped_loop import SteppedLoop

from arbd.control.reports import Operation
from arbd.core.lifecycle import State
from arbd.errors import ConfigError
from arbd.ipc import layout
from arbd.ipc.notice import Leaving, Unfit
from arbd.settings.table import TABLE, from_flags, resolve
from arbd.supervisor import needs
from arbd.supervisor.in_force import InForce
from arbd.supervisor.operations import OperationFailed, Operations
from arbd.supervisor.scaling import Scaling


class FakePinning:
    """One CPU for each slot; a new slot has another than all before."""

    def __init__(self, workers: int) -> None:
        self.placed = workers
        self.slots: list[tuple[int, ...]] = [(slot,) for slot in range(workers)]

    def resize(self, workers: int) -> list[tuple[int, ...]]:
        present = self.slots[:workers]
        self.slots = present + [(self.placed + more,) for more in range(workers - len(present))]
        self.placed += workers - len(present)
        return self.slots

    def workers_of(self, settings: Any) -> int:
        return int(settings.workers)


class Scaled(PoolRig):
    """A pool of two slots that serve, and its scaling."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stepped = SteppedLoop()
        self._monkeypatch = monkeypatch
        self.refusal: str | None = None
        monkeypatch.setattr(time, "monotonic", self.stepped.time)
        monkeypatch.setattr(time, "monotonic_ns", lambda: round(self.stepped.now * 1e9))
        for name in ("require_files", "require_memory"):
            monkeypatch.setattr(needs, name, self._require)

    def _require(self, *_: Any) -> None:
        if self.refusal is not None:
            raise ConfigError([self.refusal])

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            PoolRig.__init__(self, self._monkeypatch, self.stepped)
            pinning: Any = FakePinning(2)
            self.pinning = pinning
            self.operations = Operations()
            settings = resolve([from_flags({"workers": 2})]).settings
            self.in_force = InForce(settings)
            self.scaling = Scaling(self.in_force, self.pool, self.pinning, self.operations)
            try:
                self.move_to(self.zygote)
                self.boot()
                await test()
            finally:
                self.scaling.close()
                await self.operations.close()
                self.pool.close()

        self.stepped.run(run())

    def now(self, operation: Operation) -> Operation:
        found = self.operations.report(operation.id)
        assert found is not None
        return found

    async def later(self, operation: Operation, seconds: float = 0.1) -> Operation:
        await asyncio.sleep(seconds)
        return self.now(operation)

    def leave(self, worker: ProcesslessWorker) -> None:
        """One that was told to leaves, and ends."""
        self.say(worker, Leaving("told"))
        self.end(worker)

    @property
    def serving(self) -> list[int]:
        return sorted(each.slot for each in self.workers() if each.state is State.SERVING)


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> Scaled:
    return Scaled(monkeypatch)


def refused(scaled: Scaled, workers: int) -> str:
    with pytest.raises(OperationFailed) as caught:
        scaled.scaling.to(workers)
    assert (scaled.pool.size, len(scaled.pinning.slots)) == (2, 2)
    return str(caught.value)


def test_the_most_workers_are_those_of_the_setting() -> None:
    [setting] = [each for each in TABLE if each.name == "workers"]
    assert setting.kind.parse(layout.MAX_SLOTS) == layout.MAX_SLOTS
    with pytest.raises(ConfigError, match="workers"):
        resolve([from_flags({"workers": layout.MAX_SLOTS + 1})])


def test_more_workers_start_in_slots_of_their_own_and_it_is_done_when_all_serve(scaled: Scaled) -> None:
    async def test() -> None:
        operation = scaled.scaling.to(4)
        assert [spawn.slot for spawn in scaled.zygote.asked] == [0, 1, 2, 3]
        assert [spawn.cpus for spawn in scaled.zygote.asked[2:]] == [(2,), (3,)]
        scaled.boot(scaled.workers()[2])
        now = await scaled.later(operation)
        assert (now.state, now.done, now.total) == ("running", 1, 2)
        scaled.boot()
        now = await scaled.later(operation)
        assert (now.state, now.done, now.total) == ("done", 2, 2)
        assert now.data == {"workers": 4, "next_start": 2}
        assert "the next start has 2" in now.text
        assert scaled.pool.is_complete()

    scaled.run(test)


def test_fewer_workers_retire_one_after_the_other_the_last_first_and_nobody_takes_their_places(scaled: Scaled) -> None:
    async def test() -> None:
        scaled.scaling.to(4)
        scaled.boot()
        await asyncio.sleep(0.1)
        operation = scaled.scaling.to(1)
        await asyncio.sleep(0.1)
        assert scaled.serving == [0, 1, 2]
        scaled.leave(scaled.of(3, State.RETIRING))
        await asyncio.sleep(0.1)
        assert scaled.serving == [0, 1]
        scaled.leave(scaled.of(2, State.RETIRING))
        now = await scaled.later(operation)
        assert (now.state, now.done, now.total, scaled.serving) == ("running", 2, 3, [0])
        assert len(scaled.pinning.slots) == 4
        scaled.leave(scaled.of(1, State.RETIRING))
        now = await scaled.later(operation)
        assert (now.state, now.text) == ("done", "1 worker serves; the next start has 2 (setting workers: 2)")
        assert len(scaled.pinning.slots) == 1
        assert len(scaled.zygote.asked) == 4
        assert scaled.pool.is_complete()

    scaled.run(test)


def test_one_that_runs_a_long_task_holds_the_next_up_for_a_second_only(scaled: Scaled) -> None:
    async def test() -> None:
        scaled.scaling.to(3)
        scaled.boot()
        await asyncio.sleep(0.1)
        scaled.events.busy = {worker.id for worker in scaled.workers()}
        operation = scaled.scaling.to(1)
        await asyncio.sleep(0.5)
        assert scaled.serving == [0, 1]
        await asyncio.sleep(1.0)
        assert scaled.serving == [0]
        assert scaled.now(operation).state == "running"

    scaled.run(test)


def test_what_had_just_been_started_is_ended_and_its_end_is_no_failure(scaled: Scaled) -> None:
    async def test() -> None:
        scaled.scaling.to(3)
        [new] = [worker for worker in scaled.workers() if worker.slot == 2]
        scaled.born(new)
        operation = scaled.scaling.to(2)
        assert new.kills == 1
        scaled.end(new, -9)
        assert (await scaled.later(operation)).state == "done"
        assert (scaled.pool.out_of_service(), scaled.events.of("cannot boot")) == ({}, [])

    scaled.run(test)


def test_what_is_asked_for_last_counts_and_who_asked_before_is_told(scaled: Scaled) -> None:
    async def test() -> None:
        first = scaled.scaling.to(4)
        second = scaled.scaling.to(1)
        now = await scaled.later(first)
        assert (now.state, now.text) == ("failed", "another number was asked for meanwhile: 1 worker")
        third = scaled.scaling.to(2)
        for worker in scaled.workers():
            if worker.state is State.CONDEMNED:
                scaled.born(worker)
                scaled.end(worker, -9)
        assert (await scaled.later(second)).text == "another number was asked for meanwhile: 2 workers"
        if any(worker.state is State.RETIRING for worker in scaled.workers()):
            scaled.leave(scaled.of(1, State.RETIRING))
        scaled.boot()
        assert (await scaled.later(third)).state == "done"
        assert scaled.serving == [0, 1]

    scaled.run(test)


def test_asked_twice_for_the_same_it_is_one_operation(scaled: Scaled) -> None:
    async def test() -> None:
        assert scaled.scaling.to(3).id == scaled.scaling.to(3).id

    scaled.run(test)


def test_as_many_as_there_are_is_done_at_once(scaled: Scaled) -> None:
    async def test() -> None:
        now = await scaled.later(scaled.scaling.to(2))
        assert (now.state, now.text, len(scaled.zygote.asked)) == ("done", "2 workers serve", 2)

    scaled.run(test)


@pytest.mark.parametrize("workers", [-1, 0, layout.MAX_SLOTS + 1, 1 << 70])
def test_a_number_that_cannot_be_is_refused(scaled: Scaled, workers: int) -> None:
    async def test() -> None:
        assert "allowed: 1 to 1024" in refused(scaled, workers)

    scaled.run(test)


def test_where_the_machine_has_not_enough_it_is_refused_with_the_reason(scaled: Scaled) -> None:
    async def test() -> None:
        scaled.refusal = "9 workers need 156 open files, and the limit is 100"
        assert "9 workers need 156 open files" in refused(scaled, 9)
        scaled.scaling.to(1)  # fewer can always be
        assert scaled.pool.size == 1

    scaled.run(test)


def test_a_daemon_that_is_about_to_end_starts_nobody(scaled: Scaled) -> None:
    async def test() -> None:
        operation = scaled.scaling.to(2)
        scaled.pool.stop_replacing()
        assert "about to end" in refused(scaled, 3)
        assert (await scaled.later(operation)).state == "failed"

    scaled.run(test)


def test_slots_out_of_service_end_it_as_failed_with_the_reason(scaled: Scaled) -> None:
    async def test() -> None:
        operation = scaled.scaling.to(3)
        [new] = [worker for worker in scaled.workers() if worker.slot == 2]
        scaled.born(new)
        scaled.say(new, Unfit("no database"))
        scaled.end(new, 1)
        now = await scaled.later(operation)
        assert now.state == "failed"
        assert now.text == "2 of 3 workers serve; worker 2 is out of service, and is tried again: no database"

    scaled.run(test)


def unfit(scaled: Scaled, slot: int) -> None:
    """Its worker ends, and the next one cannot be started."""
    before = scaled.of(slot)
    scaled.work(before)
    scaled.end(before, -9)
    [new] = [worker for worker in scaled.workers() if worker.slot == slot]
    scaled.born(new)
    scaled.say(new, Unfit("no database"))
    scaled.end(new, 1)


def test_cpus_are_given_back_also_where_another_slot_is_out_of_service(scaled: Scaled) -> None:
    async def test() -> None:
        scaled.scaling.to(4)
        scaled.boot()
        await asyncio.sleep(0.1)
        unfit(scaled, 0)
        operation = scaled.scaling.to(2)
        for slot in (3, 2):
            await asyncio.sleep(0.1)
            assert len(scaled.pinning.slots) == 4
            scaled.leave(scaled.of(slot, State.RETIRING))
        now = await scaled.later(operation)
        assert (now.state, now.text[:20]) == ("failed", "1 of 2 workers serve")
        assert len(scaled.pinning.slots) == 2

    scaled.run(test)


@pytest.mark.parametrize("again", [3, 4, 5])
def test_the_cpus_of_one_that_has_not_gone_are_held_while_there_are_to_be_more_again(
    scaled: Scaled, again: int
) -> None:
    async def test() -> None:
        scaled.scaling.to(4)
        scaled.boot()
        await asyncio.sleep(0.1)
        scaled.events.busy = {worker.id for worker in scaled.workers()}
        before = list(scaled.pinning.slots)
        scaled.scaling.to(2)
        await asyncio.sleep(5.0)
        assert scaled.serving == [0, 1]
        operation = scaled.scaling.to(again)
        assert scaled.pinning.slots[:4] == before
        assert scaled.pool.size == again
        last = [worker for worker in scaled.workers() if worker.state is State.RETIRING]
        assert [scaled.pool.cpus_of(each) for each in last] == before[2:]  # type: ignore[arg-type] # fakes
        if again == 3:
            scaled.scaling.to(4)  # and on, while it is still there
            assert scaled.pinning.slots == before
            operation = scaled.scaling.to(3)
            [new] = [worker for worker in scaled.workers() if worker.state is State.CONDEMNED]
            scaled.born(new)
            scaled.end(new, -9)
        for worker in last:
            scaled.leave(worker)
        scaled.boot()
        assert (await scaled.later(operation)).state == "done"
        assert len(scaled.pinning.slots) == again

    scaled.run(test)


def test_what_the_next_start_has_is_what_the_last_reload_has_found(scaled: Scaled) -> None:
    async def test() -> None:
        newer = resolve([from_flags({"workers": 8})]).settings
        scaled.in_force.reload(scaled.in_force.settings, newer)
        now = await scaled.later(scaled.scaling.to(2))
        assert now.data == {"workers": 2, "next_start": 8}
        assert now.text == "2 workers serve; the next start has 8 (setting workers: 8)"

    scaled.run(test)


def test_fewer_workers_forget_the_troubles_of_slots_that_go(scaled: Scaled) -> None:
    async def test() -> None:
        scaled.scaling.to(3)
        [new] = [worker for worker in scaled.workers() if worker.slot == 2]
        scaled.born(new)
        scaled.say(new, Unfit("no database"))
        scaled.end(new, 1)
        assert (await scaled.later(scaled.scaling.to(2))).state == "done"
        assert scaled.pool.out_of_service() == {}
        await asyncio.sleep(600.0)
        assert len(scaled.zygote.asked) == 3

    scaled.run(test)


def test_signals_that_come_together_are_one_request(scaled: Scaled) -> None:
    async def test() -> None:
        for _ in range(5):
            scaled.scaling.by(1, "SIGTTIN")
        scaled.scaling.by(-1, "SIGTTOU")
        assert scaled.pool.size == 2
        await asyncio.sleep(0.1)
        assert scaled.pool.size == 6

    scaled.run(test)


@pytest.mark.parametrize(("step", "size"), [(-9, 1), (2000, layout.MAX_SLOTS)])
def test_signals_go_no_further_than_there_can_be_workers(scaled: Scaled, step: int, size: int) -> None:
    async def test() -> None:
        scaled.scaling.by(step, "a signal")
        await asyncio.sleep(0.1)
        assert scaled.pool.size == size

    scaled.run(test)


def test_a_signal_that_is_refused_is_a_line(scaled: Scaled, capsys: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        scaled.refusal = "3 workers need too much"
        scaled.scaling.by(1, "SIGTTIN")
        await asyncio.sleep(0.1)
        assert scaled.pool.size == 2

    scaled.run(test)
    assert "3 workers need too much" in capsys.readouterr().err


def test_a_reload_amid_fewer_workers_goes_to_those_that_stay(scaled: Scaled) -> None:
    async def test() -> None:
        operation = scaled.scaling.to(1)
        await asyncio.sleep(0.1)
        newer = FakeZygote("newer")
        scaled.move_to(newer)
        assert newer.slots == [0]
        scaled.boot(*scaled.workers(newer))
        for worker in scaled.workers(scaled.zygote):
            scaled.leave(worker)
        assert (await scaled.later(operation)).state == "done"

    scaled.run(test)
