"""A drain goes through its steps in their order and comes to its end: whatever fails in one of them, whatever hangs,
however much it is hurried. No time is waited for: the loop's clock jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from flow_support import Rig, tasks
from stepped_loop import SteppedLoop

from arbd.core.lifecycle import State
from arbd.supervisor import halt
from arbd.supervisor.drain import FLUSH_MIN_S, HURRIED_FLUSH_S, HURRIED_STOP_S, POLLS_MARGIN_S, Drain

STOP_S = 5.0
LONG_POLL_S = 10.0
TIMEOUT_S = 30.0
A_MOMENT_S = 1.0  # for what is cancelled and may not hear of it
LOOK_S = 0.3  # within which it sees what nobody has told it


class Boom(Exception):
    """Something nobody expects."""


def raises(*_: Any) -> Any:
    raise Boom


async def never(*_: Any) -> Any:
    await asyncio.Event().wait()


class Draining(Rig):
    """A flow whose link sends what the outbox has when it is flushed; ``steps``: what the drain did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stepped = SteppedLoop()
        super().__init__(monkeypatch, workers=2, loop=self.stepped)
        self.began_at = self.stepped.now
        self.took = 0.0
        self.sent_results: dict[str, str] = {}
        self.steps: list[str] = []
        self.flush_timeout = 0.0
        self._note(monkeypatch, self.pool, "stop_replacing")
        self._note(monkeypatch, self.flow, "refuse_all")
        self._note(monkeypatch, halt, "abort")

    def _note(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def noted(*args: Any) -> Any:
            self.steps.append(name)
            return real(*args)

        monkeypatch.setattr(owner, name, noted)

    async def stop_taking(self) -> None:
        self.steps.append("stop_taking")

    async def flush(self, timeout: float) -> bool:
        self.steps.append("flush")
        self.flush_timeout = timeout
        self.send()
        return not self.flow.outbox

    def send(self) -> None:
        """The link sends all that the outbox has."""
        self.sent_results |= self.results()

    def drain(
        self,
        timeout: float = TIMEOUT_S,
        meanwhile: Callable[[Drain, asyncio.Event], Awaitable[None]] | None = None,
        stays: float = 0.0,
    ) -> bool:
        """One drain, from its beginning to its end, and what happens meanwhile; the loop goes on for so long."""

        async def run() -> bool:
            self.flow.progress = asyncio.Event()
            at_once = asyncio.Event()
            drain = Drain(self.flow, at_once, STOP_S, LONG_POLL_S)
            other = asyncio.ensure_future(meanwhile(drain, at_once)) if meanwhile else None
            await asyncio.sleep(0)
            sent_all = await drain.run(timeout)
            self.took = self.stepped.now - self.began_at
            await asyncio.sleep(stays)
            if other is not None:
                await other
            self.flow.close()
            return sent_all

        return self.stepped.run(run())


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Draining]:
    rig = Draining(monkeypatch)
    yield rig
    rig.stepped.close()


def ends_at(
    rig: Draining, seconds: float, *, is_told: bool = True
) -> Callable[[Drain, asyncio.Event], Awaitable[None]]:
    """All tasks end after so many seconds."""

    async def ends(*_: Any) -> None:
        await asyncio.sleep(seconds)
        for worker in rig.workers:
            worker.answer()
        rig.flow.collect()
        if is_told:
            rig.flow.tell_of_room()

    return ends


def runs(rig: Draining, *ids: str) -> None:
    rig.flow.take(tasks(*ids))
    for worker in rig.workers:
        if worker.has:
            worker.begin(worker.has[0].task.id)


# -- the steps -------------------------------------------------------------------------------------------------------


def test_with_nothing_under_way_it_goes_through_its_steps_at_once(rig: Draining) -> None:
    assert rig.drain()
    assert rig.steps == ["stop_taking", "stop_replacing", "refuse_all", "abort", "flush"]
    assert rig.took == 0
    assert rig.flush_timeout == TIMEOUT_S


def test_tasks_that_run_are_waited_for_and_their_results_are_sent(rig: Draining) -> None:
    runs(rig, "a", "b")
    assert rig.drain(meanwhile=ends_at(rig, 3.0))
    assert rig.took == pytest.approx(3.0)
    assert rig.sent_results == {"a": '{"n":1}', "b": '{"n":1}'}


def test_so_are_those_whose_end_nobody_tells(rig: Draining) -> None:
    runs(rig, "a")
    assert rig.drain(meanwhile=ends_at(rig, 3.0, is_told=False))
    assert 3.0 <= rig.took < 3.0 + LOOK_S


def test_after_its_timeout_the_rest_is_killed_and_told(rig: Draining) -> None:
    runs(rig, "a")
    assert rig.drain(2.0)
    assert rig.took == pytest.approx(2.0)
    assert "ABORTED" in rig.sent_results["a"]
    assert len(rig.pool.killed) == 1


def test_results_have_some_seconds_however_long_tasks_have_taken(
    rig: Draining, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs(rig, "a")
    monkeypatch.setattr(rig, "flush", never)
    assert not rig.drain(2.0)
    assert rig.took == pytest.approx(2.0 + FLUSH_MIN_S)


def test_results_that_are_left_are_told_of(rig: Draining, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gives_up(timeout: float) -> bool:
        await asyncio.sleep(timeout)
        return False

    runs(rig, "a")
    monkeypatch.setattr(rig, "flush", gives_up)
    assert not rig.drain(2.0)
    assert len(rig.flow.verdicts) == 1


def test_what_the_outbox_does_not_take_at_first_is_offered_to_it_again(
    rig: Draining, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs(rig, "a")
    append, full = rig.flow.outbox.append, iter([OSError(28, "No space left on device")] * 8)

    def later(outcome: Any) -> None:
        for error in full:
            raise error
        append(outcome)

    monkeypatch.setattr(rig.flow.outbox, "append", later)
    assert rig.drain(meanwhile=ends_at(rig, 1.0))
    assert set(rig.sent_results) == {"a"}


# -- it is made shorter ----------------------------------------------------------------------------------------------


def at(seconds: float, act: Callable[[Drain, asyncio.Event], object]) -> Callable[[Drain, asyncio.Event], Any]:
    async def acts(drain: Drain, at_once: asyncio.Event) -> None:
        if seconds:
            await asyncio.sleep(seconds)
        act(drain, at_once)

    return acts


def test_at_once_ends_the_wait_for_tasks_and_that_for_results(rig: Draining, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(rig, "a")
    monkeypatch.setattr(rig, "flush", never)
    assert not rig.drain(meanwhile=at(1.0, lambda _, at_once: at_once.set()))
    assert rig.took == pytest.approx(1.0)
    assert rig.steps == ["stop_taking", "stop_replacing", "refuse_all", "abort"]


@pytest.mark.parametrize("asked_at", [0.0, 3.0])
def test_a_hurried_one_leaves_tasks_so_many_seconds_from_then_on(rig: Draining, asked_at: float) -> None:
    runs(rig, "a")
    assert rig.drain(meanwhile=at(asked_at, lambda drain, _: drain.hurry(5.0)))
    assert rig.took == pytest.approx(asked_at + 5.0)
    assert "ABORTED" in rig.sent_results["a"]


def test_and_results_a_few(rig: Draining, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(rig, "a")
    monkeypatch.setattr(rig, "flush", never)
    assert not rig.drain(meanwhile=at(0.0, lambda drain, _: drain.hurry(1.0)))
    assert rig.took == pytest.approx(1.0 + HURRIED_FLUSH_S)


def test_also_when_it_is_hurried_while_results_are_sent(rig: Draining, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(rig, "a")
    monkeypatch.setattr(rig, "flush", never)
    assert not rig.drain(1.0, meanwhile=at(2.0, lambda drain, _: drain.hurry(5.0)))
    assert rig.took == pytest.approx(1.0 + HURRIED_FLUSH_S)


def test_it_gives_no_more_time_than_the_drain_had(rig: Draining) -> None:
    runs(rig, "a")
    assert rig.drain(2.0, meanwhile=at(1.0, lambda drain, _: drain.hurry(5.0)))
    assert rig.took == pytest.approx(2.0)


def test_the_first_to_hurry_says_how_much(rig: Draining) -> None:
    def twice(drain: Drain, _: asyncio.Event) -> None:
        drain.hurry(1.0)
        drain.hurry(20.0)

    runs(rig, "a")
    assert rig.drain(meanwhile=at(0.0, twice))
    assert rig.took == pytest.approx(1.0)


def test_without_a_worker_nobody_is_waited_for_when_it_is_hurried(rig: Draining) -> None:
    runs(rig, "a")
    for worker in rig.workers:
        worker.state = State.CONDEMNED
    assert rig.drain(meanwhile=at(0.0, lambda drain, _: drain.hurry(5.0)))
    assert rig.took == 0
    assert rig.steps == ["stop_replacing", "refuse_all", "abort", "flush"]


def test_without_a_worker_one_is_waited_for_when_it_is_not(rig: Draining) -> None:
    """A zygote is being replaced: what waits will be run."""
    runs(rig, "a")
    for worker in rig.workers:
        worker.state = State.CONDEMNED
    assert rig.drain(2.0)
    assert rig.took == pytest.approx(2.0)


# -- what fails ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), Boom()])
def test_a_link_that_cannot_stop_taking_costs_no_task_that_runs(
    rig: Draining, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fails() -> None:
        raise error

    runs(rig, "a")
    monkeypatch.setattr(rig, "stop_taking", fails)
    assert rig.drain(meanwhile=ends_at(rig, 3.0))
    assert rig.sent_results == {"a": '{"n":1}'}
    assert rig.stepped.reported == ([] if isinstance(error, OSError) else [error])


def test_nor_does_one_that_never_stops(rig: Draining, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(rig, "a")
    monkeypatch.setattr(rig, "stop_taking", never)
    assert rig.drain(4.0, meanwhile=ends_at(rig, 3.0))
    assert rig.took == pytest.approx(LONG_POLL_S + POLLS_MARGIN_S)
    assert rig.sent_results == {"a": '{"n":1}'}


# -- polls that a live hub holds -------------------------------------------------------------------------------------


def held_for(rig: Draining, seconds: float, *brings: str) -> Callable[[], Awaitable[None]]:
    """A link whose polls are answered after so long, with these tasks."""

    async def stop_taking() -> None:
        rig.steps.append("stop_taking")
        await asyncio.sleep(max(0.0, rig.began_at + seconds - rig.stepped.now))
        if brings:
            rig.flow.take(tasks(*brings))

    return stop_taking


def test_they_are_waited_for_beyond_the_timeout_and_what_they_bring_is_answered(
    rig: Draining, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs(rig, "a")
    monkeypatch.setattr(rig, "stop_taking", held_for(rig, 12.0, "late"))
    assert rig.drain(2.0)
    assert rig.took == pytest.approx(12.0)
    assert rig.steps == [
        *("stop_taking", "stop_replacing", "refuse_all", "abort", "flush"),
        *("stop_taking", "flush"),
    ]
    assert set(rig.sent_results) == {"a", "late"}
    assert "ABORTED" in rig.sent_results["late"]


def test_what_they_bring_in_time_is_run(rig: Draining, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig, "stop_taking", held_for(rig, 3.0, "late"))
    assert rig.drain(5.0, meanwhile=ends_at(rig, 4.0))
    assert rig.took == pytest.approx(4.0)
    assert rig.sent_results == {"late": '{"n":1}'}


@pytest.mark.parametrize("ends", [lambda _, at_once: at_once.set(), lambda drain, _: drain.hurry(1.0)])
def test_not_where_it_must_be_over_soon(rig: Draining, monkeypatch: pytest.MonkeyPatch, ends: Any) -> None:
    monkeypatch.setattr(rig, "stop_taking", held_for(rig, 12.0))
    assert rig.drain(2.0, meanwhile=at(6.0, ends))
    assert rig.took == pytest.approx(6.0)


def test_a_drain_that_was_hurried_before_does_not_wait_for_them(rig: Draining, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig, "stop_taking", held_for(rig, 12.0))
    assert rig.drain(2.0, meanwhile=at(1.0, lambda drain, _: drain.hurry(0.5)))
    assert rig.took == pytest.approx(1.5)


def test_one_whose_flush_fails_may_be_sending_all_the_same(rig: Draining, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_: float) -> bool:
        raise Boom

    async def is_sending(*_: Any) -> None:
        await asyncio.sleep(4.0)
        rig.send()

    runs(rig, "a")
    monkeypatch.setattr(rig, "flush", fails)
    assert rig.drain(3.0, meanwhile=is_sending)
    assert [type(error) for error in rig.stepped.reported] == [Boom]
    assert rig.took == pytest.approx(4.0, abs=0.1)


def test_but_not_for_ever(rig: Draining, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_: float) -> bool:
        raise Boom

    runs(rig, "a")
    monkeypatch.setattr(rig, "flush", fails)
    assert not rig.drain(3.0)
    assert rig.took == pytest.approx(3.0 + FLUSH_MIN_S)


def test_a_flush_that_does_not_hear_that_it_is_over_is_left_to_itself(
    rig: Draining, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(_: float) -> bool:
        until = rig.stepped.now + 60.0
        while rig.stepped.now < until:
            try:
                await asyncio.sleep(until - rig.stepped.now)
            except asyncio.CancelledError:
                pass
        return True

    runs(rig, "a")
    monkeypatch.setattr(rig, "flush", deaf)
    assert not rig.drain(2.0, stays=70.0)
    assert rig.took == pytest.approx(2.0 + FLUSH_MIN_S + A_MOMENT_S)


@pytest.mark.parametrize("step", ["stop_replacing", "refuse_all", "abort", "save_kept"])
def test_a_step_that_fails_is_told_of_and_the_others_are_made(
    rig: Draining, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    owner: Any = {"stop_replacing": rig.pool, "abort": halt, "save_kept": rig.flow.verdicts}.get(step, rig.flow)
    monkeypatch.setattr(owner, step, raises)
    assert rig.drain()
    others = [each for each in ("stop_taking", "stop_replacing", "refuse_all", "abort", "flush") if each != step]
    assert rig.steps == others
    assert [type(error) for error in rig.stepped.reported] == [Boom]


# -- workers end in order --------------------------------------------------------------------------------------------


def workers_take(rig: Draining, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Workers that are told to leave take so long."""

    def gone() -> None:
        rig.pool.workers.clear()
        rig.flow.progress.set()

    def tell_all_to_leave() -> None:
        rig.steps.append("tell_all_to_leave")
        rig.stepped.call_later(seconds, gone)

    monkeypatch.setattr(rig.pool, "tell_all_to_leave", tell_all_to_leave)


def test_workers_end_in_order_while_results_are_sent(rig: Draining, monkeypatch: pytest.MonkeyPatch) -> None:
    workers_take(rig, monkeypatch, 2.0)
    runs(rig, "a")
    assert rig.drain(meanwhile=ends_at(rig, 1.0))
    assert rig.steps == ["stop_taking", "stop_replacing", "refuse_all", "abort", "tell_all_to_leave", "flush"]
    assert rig.took == pytest.approx(1.0 + 2.0, abs=A_MOMENT_S)


def test_one_that_never_ends_is_not_waited_for_beyond_its_time(rig: Draining, monkeypatch: pytest.MonkeyPatch) -> None:
    workers_take(rig, monkeypatch, 1000.0)
    assert rig.drain()
    assert STOP_S <= rig.took <= STOP_S + 3.0


def test_at_once_waits_for_none(rig: Draining, monkeypatch: pytest.MonkeyPatch) -> None:
    workers_take(rig, monkeypatch, 1000.0)
    assert rig.drain(meanwhile=at(1.0, lambda _, at_once: at_once.set()))
    assert rig.took == pytest.approx(1.0)


def test_a_hurried_one_waits_for_a_moment(rig: Draining, monkeypatch: pytest.MonkeyPatch) -> None:
    workers_take(rig, monkeypatch, 1000.0)
    assert rig.drain(meanwhile=at(0.0, lambda drain, _: drain.hurry(0.0)))
    assert rig.took <= HURRIED_STOP_S + 0.01


def test_workers_that_cannot_be_told_are_waited_for_all_the_same(
    rig: Draining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.pool, "tell_all_to_leave", raises)
    assert rig.drain()
    assert [type(error) for error in rig.stepped.reported] == [Boom]
    assert rig.took >= STOP_S
