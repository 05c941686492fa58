"""The supervisor looks when it is rung, goes on while there is something, sleeps only after a last look, and tells of
free slots after what a result has started has gone out. The event loop is a list that the test works off by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flow_support import Rig, tasks

from arbd.ipc import layout
from arbd.supervisor.wakeup import Wakeup


class LinkProcesses:
    """Link processes whose rings are a number."""

    def __init__(self) -> None:
        self.have_slots = True
        self.waiting = 0
        self.told_to_ring = 0

    def look(self) -> int:
        waiting, self.waiting = self.waiting, 0
        return waiting

    def ring_from_now_on(self) -> None:
        self.told_to_ring += 1


class Woken(Rig):
    """A supervisor of one worker that listens to its doorbell; tasks are known to be short."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch, workers=1)
        [self.worker] = self.workers
        self.learn_that_tasks_are_short()
        self.wakeup = Wakeup(self.flow)
        self.link_processes = LinkProcesses()

    def answer(self, count: int = 1) -> None:
        """The worker is sent so many tasks, and has done them."""
        names = [f"{len(self.flow.verdicts)}-{number}" for number in range(count)]
        self.flow.take(tasks(*names))
        self.worker.has += [each for worker_id, each in iter(self.flow.dispatcher.next_assignment, None)]
        self.worker.answer()
        self.told.clear()

    @property
    def is_asleep(self) -> bool:
        return bool(self.pool.board[layout.SUPERVISOR_SLEEPING])

    @property
    def rests(self) -> list[float]:
        return [handle.delay_s for handle in self.loop.later if handle.delay_s < 0.02]

    def rest(self) -> None:
        """Have it rest: the hub is busy with results of short tasks."""
        self.sends_one_by_one = True
        self.answer(40)
        self.loop.on_bell()
        self.loop.turn()
        assert self.rests == [0.001]
        assert not self.is_asleep
        self.told.clear()

    def wait(self) -> None:
        """A rest is over."""
        self.loop.time_passes(0.001)


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> Woken:
    return Woken(monkeypatch)


def test_it_starts_asleep(woken: Woken) -> None:
    assert woken.is_asleep


def test_a_result_is_announced_in_the_bells_turn_and_slots_in_the_next(woken: Woken) -> None:
    woken.answer()
    woken.loop.on_bell()
    assert woken.told == ["results"]
    assert not woken.is_asleep
    woken.loop.turn()
    assert woken.told == ["results", "slots"]
    assert woken.is_asleep
    assert len(woken.flow.outbox) == 1


def test_a_bell_for_nothing_changes_nothing(woken: Woken) -> None:
    woken.loop.on_bell()
    assert woken.told == []
    assert woken.is_asleep
    assert woken.loop.is_quiet


def test_what_is_published_just_before_it_sleeps_is_found(woken: Woken) -> None:
    def publish() -> None:
        woken.pool.on_fence.clear()
        woken.answer()

    woken.pool.on_fence.append(publish)
    woken.loop.on_bell()
    assert len(woken.flow.outbox) == 1
    assert not woken.is_asleep
    woken.loop.turn()
    assert woken.is_asleep


def test_a_bell_while_a_look_is_due_starts_no_second_one(woken: Woken) -> None:
    woken.answer()
    woken.loop.on_bell()
    woken.loop.on_bell()
    assert len(woken.loop.soon) == 1


def test_more_than_one_turn_takes_is_taken_in_the_next(woken: Woken) -> None:
    woken.answer(100)
    woken.loop.on_bell()
    assert len(woken.flow.outbox) == 64
    woken.loop.turn()
    assert len(woken.flow.outbox) == 100


def test_over_a_link_that_sends_all_at_once_it_sleeps_however_much_waits(woken: Woken) -> None:
    woken.answer(40)
    woken.loop.on_bell()
    woken.loop.turn()
    assert woken.is_asleep


def test_a_late_bell_does_not_end_a_rest(woken: Woken) -> None:
    woken.rest()
    woken.loop.on_bell()
    assert not woken.is_asleep
    assert len(woken.rests) == 1


def test_results_found_after_a_rest_go_on_and_it_rests_again(woken: Woken) -> None:
    woken.rest()
    woken.answer(3)
    woken.wait()
    assert woken.told == ["results", "slots"]
    assert len(woken.flow.outbox) == 43
    assert len(woken.rests) == 1


def test_rests_that_find_nothing_end_in_sleep_and_tell_of_slots_each_time(woken: Woken) -> None:
    woken.rest()
    looks = 0
    while not woken.is_asleep:
        looks += 1
        assert looks < 10, "it never sleeps"
        woken.wait()
    assert woken.told == ["slots"] * looks


def test_closing_ends_what_is_due(woken: Woken) -> None:
    woken.rest()
    woken.wakeup.close()
    woken.wait()
    assert woken.told == []


def test_link_processes_are_looked_at_in_the_same_look_and_ring_once_it_sleeps(woken: Woken) -> None:
    woken.flow.join(woken.link_processes)
    woken.link_processes.waiting = 5
    woken.answer()
    woken.loop.on_bell()
    assert (woken.link_processes.waiting, len(woken.flow.outbox)) == (0, 1)
    assert woken.link_processes.told_to_ring == 0
    woken.loop.turn()
    assert woken.is_asleep
    assert woken.link_processes.told_to_ring == 1


def test_link_processes_that_have_left_are_not_looked_at(woken: Woken) -> None:
    woken.flow.join(woken.link_processes)
    woken.flow.leave(woken.link_processes)
    woken.link_processes.waiting = 5
    woken.loop.on_bell()
    assert woken.link_processes.waiting == 5


def test_it_rests_longer_while_link_processes_bring_little(woken: Woken) -> None:
    woken.flow.join(woken.link_processes)
    woken.rest()
    for _ in range(20):
        woken.loop.now += 0.01
        woken.link_processes.waiting = 40
        woken.wait()
    assert woken.rests[0] > 0.005


@pytest.mark.parametrize("at", ["bell", "turn", "rest"])
def test_a_look_that_fails_is_made_again(woken: Woken, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """It goes to who handles what is unexpected; and until the daemon has ended results come in all the same."""
    steps: dict[str, Callable[[], None]] = {"bell": woken.loop.on_bell, "turn": woken.loop.turn, "rest": woken.wait}
    if at == "rest":
        woken.rest()
    woken.answer()
    if at == "turn":
        woken.loop.on_bell()
        woken.answer()
    collect = woken.flow.collect

    def fails() -> int:
        monkeypatch.setattr(woken.flow, "collect", collect)
        raise RuntimeError("injected")

    monkeypatch.setattr(woken.flow, "collect", fails)
    with pytest.raises(RuntimeError):
        steps[at]()
    before = len(woken.flow.outbox)
    woken.loop.time_passes()
    woken.loop.turns()
    assert len(woken.flow.outbox) > before


@pytest.mark.parametrize("call", ["look", "ring_from_now_on", "slots_changed", "fence"])
def test_so_is_one_in_which_somebody_who_is_asked_fails(
    woken: Woken, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    woken.flow.join(woken.link_processes)
    owner = {"slots_changed": woken, "fence": woken.pool}.get(call, woken.link_processes)
    real = getattr(owner, call)

    def fails() -> int:
        monkeypatch.setattr(owner, call, real)
        raise RuntimeError("injected")

    def look_until_asleep() -> None:
        woken.loop.on_bell()
        woken.loop.turns()

    woken.answer()
    monkeypatch.setattr(owner, call, fails)
    with pytest.raises(RuntimeError):
        look_until_asleep()
    woken.loop.time_passes()
    woken.loop.turns()
    assert len(woken.flow.outbox) == 1
    assert woken.is_asleep
    woken.answer()
    woken.loop.on_bell()
    assert len(woken.flow.outbox) == 2
