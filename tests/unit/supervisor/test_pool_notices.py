"""What a worker says of itself: one that leaves is succeeded at once, one that asks is replaced when its turn has come
and its successor is ready, one that is unfit keeps its slot out of service alone; what cannot be is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from flow_support import HandLoop
from pool_support import TIMES, FakeZygote, PoolRig, ProcesslessWorker

from arbd.core import recycling, restarts
from arbd.core.history import Why
from arbd.core.lifecycle import State
from arbd.core.recycling import RecycleLimits
from arbd.errors import EXIT_UNFIT
from arbd.ipc import layout
from arbd.ipc.notice import Leaving, Notice, ReplaceSoon, Unfit
from arbd.ipc.ring import RingCorruptError
from arbd.supervisor.lives import STOP_MARGIN_S

A_MOMENT_S = 0.001
INTERRUPTED = Leaving("interrupted", "its deadline struck", "slow")
TOLD = Leaving("told")
OLD = ReplaceSoon("tasks", "it had finished 9 tasks")


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> HandLoop:
    loop = HandLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    monkeypatch.setattr(time, "monotonic_ns", lambda: round(loop.now * 1e9))
    return loop


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, loop: HandLoop) -> Iterator[PoolRig]:
    """Two workers that serve, and have finished a task."""
    rig = PoolRig(monkeypatch, loop)
    rig.move_to(rig.zygote)
    rig.boot()
    for worker in rig.workers():
        rig.work(worker)
    rig.events.told.clear()
    rig.machine.rung.clear()
    yield rig
    rig.pool.close()


def reasons(rig: PoolRig) -> list[str]:
    """Why the last ones were replaced, the first of them first."""
    return [each.why.reason for each in rig.pool.history][::-1]


# -- leaving ---------------------------------------------------------------------------------------------------------


def test_the_successor_of_one_that_leaves_starts_at_once_beside_it(rig: PoolRig) -> None:
    worker = rig.of(0)
    rig.say(worker, INTERRUPTED)
    assert rig.events.told == [("retiring", worker.id)]
    assert worker.state is State.LEAVING
    assert worker.cell.marks == [layout.LEAVE]
    assert rig.machine.rung == [worker.bell]
    assert rig.zygote.slots == [0, 1, 0]
    rig.boot()
    assert rig.pool.is_complete()
    rig.end(worker)
    assert rig.zygote.slots == [0, 1, 0]
    assert [tuple(each)[1:] for each in rig.pool.history] == [(0, Why("interrupted", "its deadline struck", "slow"))]


def test_it_has_its_time_to_end_and_is_killed_after_that(rig: PoolRig) -> None:
    worker = rig.of(0)
    rig.say(worker, INTERRUPTED)
    rig.boot()
    rig.loop.step(TIMES.stop_s + STOP_MARGIN_S - A_MOMENT_S)
    assert worker.kills == 0
    rig.loop.step(2 * A_MOMENT_S)
    assert (worker.state, worker.kills) == (State.CONDEMNED, 1)
    rig.end(worker, -9)
    assert reasons(rig) == ["interrupted"]
    assert rig.loop.is_quiet


def test_one_that_ends_in_time_leaves_no_timer(rig: PoolRig) -> None:
    worker = rig.of(0)
    rig.say(worker, INTERRUPTED)
    rig.boot()
    rig.end(worker)
    assert rig.loop.is_quiet


def test_one_that_was_told_to_leave_says_so_and_its_time_begins(rig: PoolRig) -> None:
    worker = rig.of(0)
    of_pool: Any = worker
    rig.pool.replace_now(of_pool, Why("age"))
    rig.events.busy.add(worker.id)
    rig.loop.step(100.0)  # a long task
    rig.say(worker, TOLD)
    assert worker.cell.marks == [layout.LEAVE]
    assert (worker.state, worker.kills) == (State.LEAVING, 0)
    rig.loop.step(TIMES.stop_s + STOP_MARGIN_S + A_MOMENT_S)
    assert worker.kills == 1


def test_one_that_was_told_to_leave_has_no_task_and_hangs_is_killed(
    rig: PoolRig, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = rig.of(0)
    of_pool: Any = worker
    rig.events.busy.add(worker.id)
    rig.pool.replace_now(of_pool, Why("age"))
    for _ in range(10):
        rig.loop.step(TIMES.stop_s + STOP_MARGIN_S)
    rig.events.busy.clear()
    rig.loop.step(TIMES.stop_s + STOP_MARGIN_S - A_MOMENT_S)
    assert worker.kills == 0
    for _ in range(2):
        rig.loop.step(TIMES.stop_s + STOP_MARGIN_S + A_MOMENT_S)
    assert (worker.state, worker.kills) == (State.CONDEMNED, 1)
    assert "worker_hangs" in capsys.readouterr().err
    rig.boot()
    rig.end(worker, -9)
    assert rig.loop.is_quiet


def test_one_that_was_idle_when_it_was_told_has_its_time_to_end_and_no_more(rig: PoolRig) -> None:
    worker = rig.of(0)
    of_pool: Any = worker
    rig.pool.replace_now(of_pool, Why("age"))
    rig.loop.step(TIMES.stop_s + STOP_MARGIN_S - A_MOMENT_S)
    assert worker.kills == 0
    rig.loop.step(2 * A_MOMENT_S)
    assert worker.kills == 1


def test_one_that_is_interrupted_while_it_retires_leaves_as_well(rig: PoolRig) -> None:
    worker = rig.of(0)
    of_pool: Any = worker
    rig.pool.replace_now(of_pool, Why("age"))
    rig.say(worker, INTERRUPTED)
    assert worker.state is State.LEAVING
    assert rig.zygote.slots == [0, 1, 0]
    assert reasons(rig) == ["age"]


def test_one_that_leaves_during_a_reload_is_succeeded_by_a_new_one_alone(rig: PoolRig) -> None:
    newest = FakeZygote("newest")
    worker = rig.of(0)
    rig.move_to(newest)
    rig.say(worker, INTERRUPTED)
    assert (rig.zygote.slots, newest.slots) == ([0, 1], [0, 1])


def test_nobody_succeeds_one_that_leaves_when_nothing_is_replaced_any_more(rig: PoolRig) -> None:
    rig.pool.stop_replacing()
    rig.say(rig.of(0), INTERRUPTED)
    assert rig.zygote.slots == [0, 1]


def test_one_that_leaves_before_it_has_finished_a_task_does_not_spin(rig: PoolRig) -> None:
    rig.say(rig.of(0), INTERRUPTED)
    for _ in range(5):
        rig.boot()
        worker = rig.of(0)
        rig.say(worker, Leaving("changed", "at once"))
        asked = len(rig.zygote.asked)
        rig.end(worker)
        assert len(rig.zygote.asked) == asked
        rig.loop.step(restarts.LONGEST_PAUSE_S)
        assert len(rig.zygote.asked) == asked + 1


def test_one_that_is_killed_and_had_said_so_before_is_killed(rig: PoolRig) -> None:
    worker = rig.of(0)
    of_pool: Any = worker
    rig.pool.kill(of_pool)
    rig.say(worker, INTERRUPTED)
    assert worker.state is State.CONDEMNED
    assert rig.zygote.slots == [0, 1]


@pytest.mark.parametrize("said", [INTERRUPTED, OLD, Unfit("late")])
def test_nothing_follows_that_it_leaves(rig: PoolRig, said: Notice) -> None:
    worker = rig.of(0)
    rig.say(worker, INTERRUPTED)
    with pytest.raises(RingCorruptError):
        rig.say(worker, said)


@pytest.mark.parametrize("said", [TOLD, Unfit("late")])
def test_one_that_serves_was_not_told_and_is_fit(rig: PoolRig, said: Notice) -> None:
    with pytest.raises(RingCorruptError):
        rig.say(rig.of(0), said)


@pytest.mark.parametrize("said", [INTERRUPTED, TOLD, OLD])
def test_one_that_is_not_ready_cannot_leave(rig: PoolRig, said: Notice) -> None:
    rig.end(rig.of(0))
    with pytest.raises(RingCorruptError):
        rig.say(rig.of(0, State.STARTING), said)


def test_one_that_was_ready_before_its_zygote_said_so_may_leave(rig: PoolRig) -> None:
    rig.end(rig.of(0))
    worker = rig.of(0, State.STARTING)
    of_pool: Any = worker
    rig.pool.on_ready(of_pool)
    rig.say(worker, INTERRUPTED)
    rig.born(worker)
    assert worker.state is State.LEAVING
    assert rig.events.of("ready") == []
    rig.end(worker)
    rig.boot()
    assert rig.pool.is_complete()


def leave_one_after_the_other(rig: PoolRig, times: int) -> list[ProcesslessWorker]:
    """The worker of slot 0 is interrupted, and then its successor, and so on; none of them ends. All of them."""
    left = []
    for _ in range(times):
        rig.boot()
        left.append(rig.of(0))
        rig.work(left[-1])
        rig.say(left[-1], INTERRUPTED)
    return left


def test_of_many_that_leave_one_slot_the_oldest_are_killed_and_that_is_told_once(
    rig: PoolRig, capsys: pytest.CaptureFixture[str]
) -> None:
    left = leave_one_after_the_other(rig, 6)
    assert [worker.state for worker in left] == [State.CONDEMNED] * 4 + [State.LEAVING] * 2
    assert [worker.kills for worker in left] == [1] * 4 + [0] * 2
    assert rig.of(0, State.STARTING)
    err = capsys.readouterr().err
    assert err.count("worker_stop_too_slow") == 1
    assert "stop hooks" in err
    assert "worker.stop_timeout" in err
    for worker in left:
        rig.end(worker, 0 if worker.state is State.LEAVING else -9)
    leave_one_after_the_other(rig, 3)
    assert capsys.readouterr().err.count("worker_stop_too_slow") == 1


def test_two_that_leave_one_slot_have_their_time(rig: PoolRig, capsys: pytest.CaptureFixture[str]) -> None:
    left = leave_one_after_the_other(rig, 2)
    assert [worker.kills for worker in left] == [0, 0]
    rig.end(left[0])
    left += leave_one_after_the_other(rig, 1)
    assert [worker.kills for worker in left] == [0, 0, 0]
    assert capsys.readouterr().err.count("worker_stop_too_slow") == 0


def test_at_the_end_all_that_leave_have_their_time(rig: PoolRig) -> None:
    left = leave_one_after_the_other(rig, 2)
    rig.boot()
    rig.pool.stop_replacing()
    rig.say(rig.of(0), INTERRUPTED)
    assert [worker.kills for worker in left] == [0, 0]


# -- dying before a task ---------------------------------------------------------------------------------------------


def die_at_first_task(rig: PoolRig) -> float:
    """The worker of slot 0 dies in its first task; seconds until the next one is asked for."""
    rig.boot()
    worker = rig.of(0)
    worker.cell.runs = worker.cell.runs._replace(seq=7, since_ns=1)
    asked = len(rig.zygote.asked)
    rig.end(worker, 3)
    before: float = rig.loop.now
    while len(rig.zygote.asked) == asked:
        rig.loop.step(A_MOMENT_S)
    return float(rig.loop.now) - before


def test_one_that_dies_in_its_first_task_is_replaced_at_once_and_after_that_soon(rig: PoolRig) -> None:
    rig.end(rig.of(0), 3)
    pauses = [die_at_first_task(rig) for _ in range(8)]
    assert pauses[0] == 0
    assert pauses == sorted(pauses)
    assert pauses[-1] <= restarts.LONGEST_TASK_PAUSE_S + 2 * A_MOMENT_S


def test_one_that_dies_idle_and_unused_is_waited_for_longer_each_time(rig: PoolRig) -> None:
    rig.end(rig.of(0), 3)
    pauses = []
    for _ in range(7):
        rig.boot()
        asked, before = len(rig.zygote.asked), rig.loop.now
        rig.end(rig.of(0), 3)
        while len(rig.zygote.asked) == asked:
            rig.loop.step(0.01)
        pauses.append(rig.loop.now - before)
    assert pauses[0] >= restarts.FIRST_PAUSE_S - 0.01
    assert pauses == sorted(pauses)
    assert list(rig.pool.out_of_service()) == [0]
    assert rig.pool.out_of_service()[0].kind == "ended_early"
    rig.boot()
    assert rig.pool.out_of_service() == {}
    assert rig.events.of("cannot boot") == []


# -- unfit -----------------------------------------------------------------------------------------------------------


def be_unfit(rig: PoolRig, detail: str = "RuntimeError: no database", status: int = EXIT_UNFIT) -> ProcesslessWorker:
    """The worker that starts in slot 0 is unfit."""
    worker = rig.of(0, State.STARTING)
    rig.born(worker)
    if detail:
        rig.say(worker, Unfit(detail))
    rig.end(worker, status)
    return worker


def test_an_unfit_one_keeps_its_slot_out_of_service_and_says_why(rig: PoolRig) -> None:
    rig.end(rig.of(0))
    be_unfit(rig, "no database\x1b[31m")
    [trouble] = rig.pool.out_of_service().values()
    assert (trouble.kind, trouble.reason, trouble.times) == ("unfit", r"no database\x1b[31m", 1)
    assert trouble.retry_at_ns > time.monotonic_ns()
    assert rig.pool.serves()


def test_its_slot_is_tried_for_ever_though_nobody_serves_and_heals(
    monkeypatch: pytest.MonkeyPatch, loop: HandLoop
) -> None:
    rig = PoolRig(monkeypatch, loop, slots=1)
    rig.move_to(rig.zygote)
    for times in range(30):
        be_unfit(rig)
        while len(rig.zygote.asked) == times + 1:
            rig.loop.step(0.1)
    assert rig.events.of("cannot boot") == []
    assert rig.pool.out_of_service()[0].times == 30
    rig.boot()
    assert rig.pool.out_of_service() == {}
    assert rig.pool.is_complete()
    rig.work(rig.of(0))
    rig.end(rig.of(0))
    be_unfit(rig)
    assert rig.pool.out_of_service()[0].times == 1
    rig.pool.close()


def test_one_that_did_not_get_to_say_why_is_known_by_its_exit_code(rig: PoolRig) -> None:
    rig.end(rig.of(0))
    be_unfit(rig, "")
    assert rig.pool.out_of_service()[0].kind == "unfit"


def test_one_that_does_not_end_is_killed_and_is_unfit_all_the_same(rig: PoolRig) -> None:
    rig.end(rig.of(0))
    worker = rig.of(0, State.STARTING)
    rig.born(worker)
    rig.say(worker, Unfit("no database"))
    rig.loop.step(TIMES.stop_s + STOP_MARGIN_S + A_MOMENT_S)
    assert worker.kills == 1
    rig.end(worker, -9)
    assert rig.pool.out_of_service()[0].reason == "no database"


def test_one_that_says_so_before_its_zygote_does_is_unfit(rig: PoolRig) -> None:
    rig.end(rig.of(0))
    worker = rig.of(0, State.STARTING)
    rig.say(worker, Unfit("no database"))
    rig.born(worker)
    assert worker.boot_timer is None
    rig.end(worker, EXIT_UNFIT)
    assert list(rig.pool.out_of_service()) == [0]


def test_other_code_begins_anew(rig: PoolRig) -> None:
    rig.end(rig.of(0))
    be_unfit(rig)
    newest = FakeZygote("newest")
    rig.move_to(newest)
    assert rig.pool.out_of_service() == {}
    assert newest.slots == [0, 1]


def test_a_new_generation_that_is_unfit_leaves_the_old_one_serving(rig: PoolRig) -> None:
    newest = FakeZygote("newest")
    old = rig.workers()
    rig.move_to(newest)
    for worker in rig.workers(newest):
        rig.born(worker)
        rig.say(worker, Unfit("no database"))
        rig.end(worker, EXIT_UNFIT)
    assert rig.workers() == old
    assert all(worker.state is State.SERVING for worker in old)
    assert rig.pool.out_of_service() == {}


def test_nobody_is_unfit_twice(rig: PoolRig) -> None:
    rig.end(rig.of(0))
    worker = rig.of(0, State.STARTING)
    rig.say(worker, Unfit("no database"))
    with pytest.raises(RingCorruptError):
        rig.say(worker, Unfit("no database"))


# -- replaced though it serves ---------------------------------------------------------------------------------------


def test_one_that_asks_serves_until_its_successor_is_ready(rig: PoolRig) -> None:
    worker = rig.of(0)
    rig.say(worker, OLD)
    assert rig.zygote.slots == [0, 1, 0]
    assert rig.events.told == []
    rig.boot()
    [*_, successor] = rig.workers()
    assert rig.events.told == [("retiring", worker.id), ("ready", successor.id)]
    assert worker.cell.marks == [layout.LEAVE]
    rig.say(worker, TOLD)
    rig.end(worker)
    assert rig.zygote.slots == [0, 1, 0]
    assert reasons(rig) == ["tasks"]


def test_one_after_the_other(rig: PoolRig) -> None:
    first, second = rig.workers()
    rig.say(first, OLD)
    rig.say(second, OLD)
    rig.say(second, OLD)
    assert rig.zygote.slots == [0, 1, 0]
    rig.boot()
    assert rig.zygote.slots == [0, 1, 0]
    rig.end(first)
    assert rig.zygote.slots == [0, 1, 0, 1]


def test_a_long_task_of_the_first_holds_the_second_up_for_a_while_alone(rig: PoolRig) -> None:
    for worker in rig.workers():
        rig.say(worker, OLD)
    rig.boot()
    rig.loop.step(recycling.HOLD_S + A_MOMENT_S)
    assert rig.zygote.slots == [0, 1, 0, 1]


def test_one_that_dies_while_its_successor_starts_has_that_one_alone(rig: PoolRig) -> None:
    worker = rig.of(0)
    rig.say(worker, OLD)
    rig.end(worker, -11)
    rig.boot()
    assert rig.zygote.slots == [0, 1, 0]
    assert rig.pool.is_complete()


def test_so_has_one_that_leaves_meanwhile(rig: PoolRig) -> None:
    worker = rig.of(0)
    rig.say(worker, OLD)
    rig.say(worker, Leaving("tasks"))
    rig.boot()
    rig.end(worker)
    assert rig.zygote.slots == [0, 1, 0]
    assert rig.pool.is_complete()


@pytest.mark.parametrize("how", ["unfit", "boot"])
def test_a_successor_that_cannot_be_had_leaves_the_old_one_serving_and_others_their_turn(
    rig: PoolRig, how: str
) -> None:
    first, second = rig.workers()
    rig.say(first, OLD)
    rig.say(second, OLD)
    successor = rig.of(0, State.STARTING)
    rig.born(successor)
    if how == "unfit":
        rig.say(successor, Unfit("no database"))
    rig.end(successor, EXIT_UNFIT if how == "unfit" else 1)
    assert first.state is State.SERVING
    assert rig.zygote.slots == [0, 1, 0, 1]
    assert rig.events.of("cannot boot") == []


def test_one_whose_successors_are_unfit_is_tried_ever_more_seldom_and_asks_on(rig: PoolRig) -> None:
    asked_at: list[float] = []
    for _ in range(600):  # looks, each of which finds it too old
        rig.say(rig.of(0), OLD)
        if len(rig.zygote.asked) > 2 + len(asked_at):
            asked_at.append(rig.loop.now)
            be_unfit(rig)
        rig.loop.step(1.0)
    pauses = [after - before for before, after in pairwise(asked_at)]
    assert pauses[-1] >= restarts.LONGEST_PAUSE_S / 2
    assert len(asked_at) < 40
    assert rig.of(0)


def test_one_that_asked_once_has_its_turn_when_the_pause_of_its_slot_is_over(rig: PoolRig) -> None:
    worker = rig.of(0)
    rig.say(worker, OLD)
    be_unfit(rig)
    rig.say(worker, OLD)
    assert rig.zygote.slots == [0, 1, 0]
    rig.say(rig.of(1), OLD)
    assert rig.zygote.slots == [0, 1, 0, 1]
    rig.boot()
    rig.loop.step(restarts.LONGEST_PAUSE_S)
    rig.boot()
    assert worker.state is State.RETIRING
    assert rig.pool.is_complete()


def test_a_machine_that_has_no_successor_does_so_as_well(rig: PoolRig) -> None:
    first = rig.of(0)
    rig.machine.error = OSError(24, "Too many open files")
    rig.say(first, OLD)
    assert [worker.state for worker in rig.workers()] == [State.SERVING] * 2
    rig.machine.error = None
    rig.loop.step(restarts.LONGEST_PAUSE_S)
    rig.boot()
    assert rig.pool.is_complete()


def test_a_reload_replaces_it_anyway(rig: PoolRig) -> None:
    rig.say(rig.of(0), OLD)
    newest = FakeZygote("newest")
    rig.move_to(newest)
    old = rig.workers(rig.zygote)
    rig.boot(*rig.workers(newest))
    for worker in old:
        if worker.state is State.CONDEMNED:
            rig.born(worker)
        rig.end(worker)
    assert rig.workers() == rig.workers(newest)
    assert newest.slots == [0, 1]


def test_nobody_has_a_turn_when_nothing_is_replaced_any_more(rig: PoolRig) -> None:
    rig.pool.stop_replacing()
    rig.say(rig.of(0), OLD)
    assert rig.zygote.slots == [0, 1]


# -- the rest --------------------------------------------------------------------------------------------------------


def test_each_worker_has_its_bound_of_tasks_with_it(monkeypatch: pytest.MonkeyPatch, loop: HandLoop) -> None:
    monkeypatch.setattr(PoolRig, "recycle", RecycleLimits(max_tasks=1000, memory_limit=1 << 30))
    rig = PoolRig(monkeypatch, loop, slots=8)
    rig.move_to(rig.zygote)
    bounds = [spawn.max_tasks for spawn in rig.zygote.asked]
    assert len(set(bounds)) > 1
    assert all(900 <= bound <= 1000 for bound in bounds)
    assert {spawn.memory_limit for spawn in rig.zygote.asked} == {1 << 30}
    rig.pool.close()


def test_one_that_dies_is_among_the_replaced(rig: PoolRig) -> None:
    rig.end(rig.of(0), -11)
    [replaced] = rig.pool.history
    assert replaced.why == Why("died", "it was killed by SIGSEGV")


def test_generations_are_counted(rig: PoolRig) -> None:
    newest = FakeZygote("newest")
    rig.move_to(newest)
    assert (rig.zygote.generation, newest.generation) == (1, 2)


def test_all_can_be_told_to_leave(rig: PoolRig) -> None:
    rig.end(rig.of(0))
    serving, starting = rig.of(1), rig.of(0, State.STARTING)
    rig.born(starting)
    rig.pool.stop_replacing()
    rig.pool.tell_all_to_leave()
    rig.pool.tell_all_to_leave()
    assert (serving.state, serving.cell.marks) == (State.RETIRING, [layout.LEAVE])
    assert (starting.state, starting.kills) == (State.CONDEMNED, 1)
