"""Every slot gets a worker again, whatever fails: a worker, the machine, a zygote that is silent or gone, an owner that
raises; and nothing is done at once that must wait. Without a process, the clock stepped by hand."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flow_support import HandLoop
from pool_support import TIMES, FakeZygote, PoolRig, ProcesslessWorker

from arbd.core import restarts
from arbd.core.lifecycle import State
from arbd.errors import ConfigError
from arbd.ipc import layout
from arbd.supervisor.lives import BOOT_TIMEOUT_S, SILENCE_S

NO_DESCRIPTOR = OSError(24, "Too many open files")
LONG_S = 1000.0
A_MOMENT_S = 0.001


class Boom(Exception):
    """Something nobody expects."""


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> HandLoop:
    loop = HandLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    monkeypatch.setattr(time, "monotonic_ns", lambda: round(loop.now * 1e9))
    return loop


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, loop: HandLoop) -> Iterator[PoolRig]:
    """Two slots, and no worker yet."""
    rig = PoolRig(monkeypatch, loop)
    yield rig
    rig.pool.close()


@pytest.fixture
def serving(rig: PoolRig) -> PoolRig:
    """Two workers that serve, and have finished a task."""
    rig.move_to(rig.zygote)
    rig.boot()
    for worker in rig.workers():
        rig.work(worker)
    rig.events.told.clear()
    return rig


# -- start -----------------------------------------------------------------------------------------------------------


def test_there_is_a_worker_for_every_slot_and_then_the_pool_is_complete(rig: PoolRig) -> None:
    rig.move_to(rig.zygote)
    assert rig.zygote.slots == [0, 1]
    assert all(worker.is_handed_over for worker in rig.workers())
    first, second = rig.workers()
    rig.boot(first)
    assert (rig.pool.serves(), rig.pool.is_complete()) == (True, False)
    rig.boot(second)
    assert rig.pool.is_complete()
    assert rig.events.told == [("ready", 1), ("ready", 2)]
    assert rig.loop.later == []


def test_a_worker_that_says_it_is_ready_before_the_zygote_says_it_is_there_takes_no_tasks_yet(rig: PoolRig) -> None:
    rig.move_to(rig.zygote)
    workers: list[Any] = rig.workers()
    for worker in workers:
        rig.pool.on_ready(worker)
    assert (rig.pool.serves(), rig.events.told) == (False, [])
    for worker in workers:
        rig.born(worker)
    assert rig.events.told == [("ready", 1), ("ready", 2)]
    assert rig.pool.is_complete()


def test_they_are_not_asked_for_all_at_once(monkeypatch: pytest.MonkeyPatch, loop: HandLoop) -> None:
    """So many messages with so many descriptors are more than a socket holds."""
    rig = PoolRig(monkeypatch, loop, slots=40)
    rig.move_to(rig.zygote)
    assert len(rig.zygote.asked) == 16
    rig.born(rig.workers()[0])
    assert len(rig.zygote.asked) == 17
    while [each for each in rig.workers() if not each.pid]:
        rig.born(next(each for each in rig.workers() if not each.pid))
    assert rig.zygote.slots == list(range(40))
    rig.pool.close()


def test_limits_that_cannot_be_had_at_the_start_are_told_and_nothing_has_changed(rig: PoolRig) -> None:
    rig.limits.error = ConfigError(["limit: no such directory"])
    with pytest.raises(ConfigError):
        rig.move_to(rig.zygote)
    assert rig.workers() == []
    assert rig.zygote.asked == []
    assert all(worker.is_closed for worker in rig.machine.made)
    assert rig.loop.is_quiet


# -- replace ---------------------------------------------------------------------------------------------------------


def test_one_that_served_is_replaced_at_once_as_often_as_it_happens(serving: PoolRig) -> None:
    for _ in range(20):
        [worker, *_] = [each for each in serving.workers() if each.slot == 0]
        serving.work(worker)
        serving.end(worker, -signal.SIGSEGV)
        assert serving.events.told.pop(0) == ("gone", worker.id, -signal.SIGSEGV)
        assert worker.is_closed
        assert worker.id not in serving.limits.attached
        serving.boot()
        serving.events.told.clear()
    assert serving.pool.is_complete()


def test_one_that_ends_before_it_is_ready_is_replaced_after_a_pause_and_not_for_ever(rig: PoolRig) -> None:
    rig.move_to(rig.zygote)
    pauses = []
    while not rig.events.of("cannot boot"):
        [worker, *_] = rig.workers()
        rig.born(worker)
        asked = len(rig.zygote.asked)
        rig.end(worker, 1)
        assert len(rig.zygote.asked) == asked
        pauses += [handle.delay_s for handle in rig.loop.later if handle.delay_s < BOOT_TIMEOUT_S / 20]
        rig.loop.time_passes(0.0)
    assert rig.events.of("cannot boot") == [("cannot boot", False)]
    assert pauses == sorted(pauses)
    assert len(pauses) == restarts.MAX_CODE_FAILURES - 1


def test_while_another_serves_it_is_tried_for_ever(serving: PoolRig) -> None:
    serving.end(serving.workers()[0])
    for _ in range(30):
        [worker] = [each for each in serving.workers() if each.state is State.STARTING]
        serving.born(worker)
        serving.end(worker, 1)
        serving.loop.step(restarts.LONGEST_PAUSE_S)
    assert serving.events.of("cannot boot") == []


def test_once_nothing_is_to_be_replaced_nothing_is(serving: PoolRig) -> None:
    asked = len(serving.zygote.asked)
    serving.pool.stop_replacing()
    for worker in serving.workers():
        serving.end(worker)
    assert len(serving.zygote.asked) == asked
    assert serving.loop.later == []


@pytest.mark.parametrize("who", ["worker", "limits", "zygote"])
def test_one_for_which_the_machine_has_nothing_is_started_after_a_pause(serving: PoolRig, who: str) -> None:
    owner: Any = {"worker": serving.machine, "limits": serving.limits, "zygote": serving.zygote}[who]
    owner.error = NO_DESCRIPTOR
    worker = serving.workers()[0]
    serving.end(worker)
    assert len(serving.workers()) == 1
    assert serving.limits.attached == {2}
    assert all(each.is_closed for each in serving.machine.made if each.id > 2)
    serving.loop.step(LONG_S)
    assert serving.events.of("cannot boot") == []  # the other one serves
    owner.error = None
    serving.loop.step(restarts.LONGEST_PAUSE_S)
    assert len(serving.workers()) == 2


def test_limits_that_cannot_be_had_any_more_are_such_a_reason(serving: PoolRig) -> None:
    serving.limits.error = ConfigError(["limit: no such directory"])
    serving.end(serving.workers()[0])
    serving.limits.error = None
    serving.loop.step(1.0)
    assert len(serving.workers()) == 2


def test_what_the_machine_lacks_is_tried_by_one_and_by_all_once_it_works(
    monkeypatch: pytest.MonkeyPatch, loop: HandLoop
) -> None:
    rig = PoolRig(monkeypatch, loop, slots=8)
    rig.machine.error = NO_DESCRIPTOR
    tried: list[int] = []
    make = rig.machine._make

    def tries(worker_id: int, slot: int, *args: Any) -> ProcesslessWorker:
        tried.append(slot)
        return make(worker_id, slot, *args)

    monkeypatch.setattr("arbd.supervisor.pool.Worker", tries)
    rig.move_to(rig.zygote)
    assert len(tried) == 1
    rig.loop.step(0.15)
    assert len(tried) == 2
    rig.machine.error = None
    rig.loop.step(1.0)
    assert sorted(rig.zygote.slots) == list(range(8))
    rig.pool.close()


def test_a_machine_that_never_has_anything_is_given_up(rig: PoolRig) -> None:
    rig.machine.error = NO_DESCRIPTOR
    rig.move_to(rig.zygote)
    rig.loop.step(LONG_S)
    assert rig.events.told == [("cannot boot", True)]
    assert rig.loop.is_quiet


def test_so_is_one_whose_zygote_says_so(rig: PoolRig) -> None:
    """It has no process to be had; that is not the code's fault."""
    rig.move_to(rig.zygote)
    for _ in range(50):
        if rig.events.of("cannot boot"):
            break
        if rig.workers():
            rig.end(rig.workers()[0], 1, reason="Resource temporarily unavailable")
        else:
            rig.loop.step(restarts.LONGEST_PAUSE_S)
    assert rig.events.of("cannot boot") == [("cannot boot", True)]


# -- a zygote that is silent -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("has_answered", "silence_s"), [(True, SILENCE_S), (False, BOOT_TIMEOUT_S)])
def test_a_zygote_that_does_not_answer_a_request_is_silent(rig: PoolRig, has_answered: bool, silence_s: float) -> None:
    rig.zygote.has_answered = has_answered
    rig.move_to(rig.zygote)
    workers = rig.workers()
    rig.loop.step(silence_s - A_MOMENT_S)
    assert rig.events.told == []
    rig.loop.step(2 * A_MOMENT_S)
    assert rig.events.told == [("silent", rig.zygote), ("gone", 1, None), ("gone", 2, None)]
    assert all(worker.cell.marks == [layout.STOP] for worker in workers)
    assert rig.workers() == []
    assert rig.loop.is_quiet


def test_one_that_is_heard_of_meanwhile_has_its_time_from_then_on(rig: PoolRig) -> None:
    rig.move_to(rig.zygote)
    first, _ = rig.workers()
    rig.loop.step(SILENCE_S - 1.0)
    rig.born(first)
    rig.loop.step(SILENCE_S - A_MOMENT_S)
    assert rig.events.told == []
    rig.loop.step(2 * A_MOMENT_S)
    assert rig.events.told == [("silent", rig.zygote), ("gone", 2, None)]


def test_a_worker_that_comes_to_be_after_all_is_killed(rig: PoolRig) -> None:
    rig.move_to(rig.zygote)
    rig.loop.step(SILENCE_S + A_MOMENT_S)
    pidfd = os.eventfd(0)
    rig.pool.on_spawned(1, 5001, pidfd)
    assert rig.machine.killed == [pidfd]
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(pidfd)


def test_a_zygote_that_does_not_say_who_has_ended_is_silent(serving: PoolRig) -> None:
    worker, other = serving.workers()
    serving.loop.readers[worker.pidfd]()
    serving.loop.step(SILENCE_S - A_MOMENT_S)
    assert serving.events.told == []
    serving.loop.step(2 * A_MOMENT_S)
    assert serving.events.told == [("silent", serving.zygote), ("gone", worker.id, None)]
    assert worker.was_killed_for_the_zygote  # and what it had started with it
    assert serving.workers() == [other]


def test_one_that_says_so_in_time_is_not(serving: PoolRig) -> None:
    worker, _ = serving.workers()
    serving.loop.readers[worker.pidfd]()
    serving.loop.step(SILENCE_S / 2)
    serving.end(worker, -signal.SIGKILL)
    serving.boot()
    serving.loop.step(LONG_S)
    assert serving.events.of("silent") == []
    assert serving.events.of("gone") == [("gone", worker.id, -signal.SIGKILL)]


def test_a_kernel_that_watches_no_more_descriptors_leaves_the_end_to_the_zygote(
    rig: PoolRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    rig.move_to(rig.zygote)
    monkeypatch.setattr(rig.loop, "add_reader", full)
    rig.boot()
    assert rig.pool.is_complete()
    worker = rig.workers()[0]
    rig.work(worker)
    rig.end(worker)
    assert len(rig.workers()) == 2


def test_a_worker_that_is_there_and_never_ready_is_killed(rig: PoolRig) -> None:
    rig.move_to(rig.zygote)
    for worker in rig.workers():
        rig.born(worker)
    rig.loop.step(BOOT_TIMEOUT_S + TIMES.start_s - A_MOMENT_S)
    assert [worker.kills for worker in rig.workers()] == [0, 0]
    rig.loop.step(2 * A_MOMENT_S)
    assert [worker.kills for worker in rig.workers()] == [1, 1]


# -- reload ----------------------------------------------------------------------------------------------------------


def reloaded(rig: PoolRig) -> tuple[FakeZygote, list[ProcesslessWorker], list[ProcesslessWorker]]:
    """A newer generation was started beside the one that serves: its zygote, the old workers and the new."""
    old = rig.workers()
    newest = FakeZygote("newest")
    rig.move_to(newest)
    return newest, old, rig.workers(newest)


def test_the_old_workers_leave_once_the_first_new_one_is_ready(serving: PoolRig) -> None:
    _, old, new = reloaded(serving)
    assert len(serving.workers()) == 4
    assert [worker.state for worker in old] == [State.SERVING] * 2
    serving.boot(new[1])
    assert serving.events.told == [("retiring", old[0].id), ("retiring", old[1].id), ("ready", new[1].id)]
    assert [worker.cell.marks for worker in old] == [[layout.LEAVE]] * 2
    assert serving.machine.rung == [worker.bell for worker in old]


def test_when_they_have_left_nobody_takes_their_places(serving: PoolRig) -> None:
    newest, old, new = reloaded(serving)
    serving.boot(*new)
    for worker in old:
        serving.end(worker)
    assert serving.workers() == new
    assert len(newest.asked) == 2


def test_old_ones_that_are_not_yet_ready_are_killed(rig: PoolRig) -> None:
    rig.move_to(rig.zygote)
    for worker in rig.workers():
        rig.born(worker)
    _, old, new = reloaded(rig)
    rig.boot(new[0])
    assert [worker.kills for worker in old] == [1, 1]


def test_an_old_one_that_is_ready_late_ends_nobody(rig: PoolRig) -> None:
    rig.move_to(rig.zygote)
    _, old, new = reloaded(rig)
    rig.boot(old[0])
    assert rig.events.told == [("ready", old[0].id)]
    assert {worker.state for worker in new} == {State.STARTING}


def test_one_that_ends_during_a_reload_is_replaced_by_a_new_one_alone(serving: PoolRig) -> None:
    newest, old, _ = reloaded(serving)
    serving.end(old[0], -signal.SIGKILL)
    assert len(serving.zygote.asked) == 2
    assert len(newest.asked) == 2


def test_limits_of_the_new_code_that_cannot_be_had_change_nothing(serving: PoolRig) -> None:
    serving.limits.error = ConfigError(["limit: no such directory"])
    with pytest.raises(ConfigError):
        serving.move_to(FakeZygote("newest"))
    serving.limits.error = None
    serving.end(serving.workers()[0])
    assert serving.zygote.slots == [0, 1, 0]


def test_going_back_kills_what_starts_and_fills_the_places_from_the_old_zygote(serving: PoolRig) -> None:
    _, old, new = reloaded(serving)
    serving.end(old[0])  # its place is the new one's to take
    serving.born(new[1])
    of_pool: Any = serving.zygote
    serving.pool.move_back(of_pool)
    assert [worker.state for worker in new] == [State.CONDEMNED] * 2
    assert new[1].kills == 1
    assert serving.zygote.slots == [0, 1, 0]
    serving.born(new[0])  # it was on its way
    assert new[0].kills == 1
    for worker in new:
        serving.end(worker, -signal.SIGKILL)
    serving.boot()
    assert serving.pool.is_complete()


# -- the ends of workers and zygotes ---------------------------------------------------------------------------------


def test_all_workers_of_a_zygote_that_is_lost_are_stopped_before_the_first_is_settled(
    serving: PoolRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that comes back from one must not be given to another that is about to die."""
    workers = serving.workers()
    stopped: list[bool] = []

    def gone(worker: Any, status: int | None) -> None:
        stopped.append(all(each.was_killed_for_the_zygote for each in workers))

    monkeypatch.setattr(serving.events, "on_worker_gone", gone)
    serving.zygote.lost = True
    of_pool: Any = serving.zygote
    serving.pool.on_zygote_lost(of_pool)
    assert serving.events.of("retiring") == [("retiring", 1), ("retiring", 2)]
    assert stopped == [True, True]
    assert serving.workers() == []
    assert len(serving.zygote.asked) == 2  # it cannot be asked any more


def test_one_whose_memory_is_damaged_is_killed_once(serving: PoolRig) -> None:
    worker, _ = serving.workers()
    of_pool: Any = worker
    serving.pool.give_up(of_pool, "result_ring_unreadable", "impossible")
    serving.pool.give_up(of_pool, "result_ring_unreadable", "impossible")
    assert worker.damaged
    assert worker.kills == 1


def test_one_that_was_killed_before_it_was_there_is_killed_when_it_is(rig: PoolRig) -> None:
    rig.move_to(rig.zygote)
    worker, _ = rig.workers()
    of_pool: Any = worker
    rig.pool.kill(of_pool)
    assert worker.kills == 0
    rig.born(worker)
    assert worker.kills == 1
    assert worker.boot_timer is None


def test_one_that_says_it_is_ready_while_it_is_killed_takes_no_tasks(rig: PoolRig) -> None:
    rig.move_to(rig.zygote)
    worker, _ = rig.workers()
    rig.born(worker)
    of_pool: Any = worker
    rig.pool.kill(of_pool)
    rig.pool.on_ready(of_pool)
    assert worker.state is State.CONDEMNED
    assert rig.events.told == []


def test_an_end_that_is_told_twice_is_one(serving: PoolRig) -> None:
    worker, _ = serving.workers()
    serving.end(worker)
    serving.end(worker)
    assert serving.events.of("gone") == [("gone", worker.id, 0)]


@pytest.mark.parametrize("who", ["owner", "limits"])
def test_one_whose_end_fails_is_given_back_all_the_same(serving: PoolRig, who: str) -> None:
    worker, other = serving.workers()
    if who == "owner":
        serving.events.error = Boom()
    else:
        serving.limits.detach_error = Boom()
    with pytest.raises(Boom):
        serving.end(worker)
    serving.events.error = serving.limits.detach_error = None
    assert worker.is_closed
    assert serving.workers() == [other]
    assert worker.pidfd not in serving.loop.readers


# -- news ------------------------------------------------------------------------------------------------------------


def test_who_has_news_is_told_by_the_board_once(serving: PoolRig) -> None:
    _, second = serving.workers()
    assert serving.pool.with_news() == []
    serving.pool.board[layout.NEWS + layout.LINE * second.slot] += 1
    assert [each.id for each in serving.pool.with_news()] == [second.id]
    assert serving.pool.with_news() == []


def test_both_workers_of_a_slot_may_have_published_it(serving: PoolRig) -> None:
    _, old, new = reloaded(serving)
    serving.pool.board[layout.NEWS] += 1
    assert [each.id for each in serving.pool.with_news()] == [old[0].id, new[0].id]


def test_closing_gives_everything_back(serving: PoolRig) -> None:
    workers = serving.workers()
    serving.end(workers[0])
    serving.machine.error = NO_DESCRIPTOR
    serving.end(workers[1])
    other = PoolRig.make(serving, 1)
    other.close()
    made = serving.machine.made
    assert len(serving.loop.later) == 2  # a birth, and a pause of the machine
    serving.pool.stop_replacing()
    pool, serving.pool = serving.pool, serving.make(1)
    pool.close()
    assert all(worker.is_closed for worker in made)
    assert serving.loop.later == []


# -- pages of metrics --------------------------------------------------------------------------------------------------


def test_a_page_of_metrics_is_the_next_worker_s_when_one_is_gone(serving: PoolRig) -> None:
    pages = serving.pool.author_pages
    assert len(pages.descriptors) == 2
    worker, _ = serving.workers()
    serving.end(worker, -9)
    serving.boot()
    assert len(pages.descriptors) == 2


def test_where_a_worker_cannot_be_asked_for_its_page_is_free(rig: PoolRig) -> None:
    rig.zygote.error = NO_DESCRIPTOR
    rig.move_to(rig.zygote)
    rig.loop.step(2.0)
    assert len(rig.pool.author_pages.descriptors) == 1
    assert rig.workers() == []
