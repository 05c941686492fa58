"""The supervisor looks when it is rung, goes on while there is something, sleeps only after a last look, and tells of
free slots after what a result has started has gone out. The event loop is a list that the test works off by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from arbd.core.dispatch import Dispatcher
from arbd.core.lifecycle import State
from arbd.core.outbox import MemoryOutbox
from arbd.host import doorbell, parcels
from arbd.ipc import frame, layout
from arbd.model.task import Task
from arbd.supervisor import results as results_module
from arbd.supervisor.results import Results
from arbd.supervisor.verdicts import Verdicts


class Handle:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """What is due in the next turn, and what after a time."""

    def __init__(self) -> None:
        self.soon: list[Handle] = []
        self.later: list[tuple[float, Handle]] = []
        self.on_bell: Callable[[], None]

    def add_reader(self, _: int, callback: Callable[[], None]) -> None:
        self.on_bell = callback

    def remove_reader(self, _: int) -> None:
        pass

    def call_soon(self, callback: Callable[[], None]) -> Handle:
        self.soon.append(Handle(callback))
        return self.soon[-1]

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Handle:
        self.later.append((delay_s, Handle(callback)))
        return self.later[-1][1]

    def turn(self) -> None:
        """One turn of the loop."""
        handles, self.soon = self.soon, []
        for handle in handles:
            if not handle.is_cancelled:
                handle.callback()

    def time_passes(self) -> None:
        """All that waits for a time is due."""
        self.soon += [handle for _, handle in self.later]
        self.later.clear()
        self.turn()

    @property
    def is_quiet(self) -> bool:
        return not self.soon and not self.later


class Worker:
    """One that serves, with a ring that is a list."""

    id = 1
    damaged = False
    state = State.SERVING

    def __init__(self, pop_many: Callable[[int], list[bytes]]) -> None:
        self.unread: list[bytes] = []
        self.cell = SimpleNamespace(results=SimpleNamespace(pop_many=pop_many))


class Rig:
    """Results between a worker that is a list and a link, this object, that notes what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = Loop()
        self.told: list[str] = []
        self.records: list[bytes] = []
        self.published_after_fence: list[bytes] = []
        self.outbox = MemoryOutbox()
        self.dispatcher = Dispatcher()
        self.dispatcher.add_worker(1)
        for _ in range(200):  # it learns that tasks are short
            self.dispatcher.offer(Task("id", "act"), 1.0)
            chosen = self.dispatcher.next_assignment()
            assert chosen is not None
            self.dispatcher.finish(1, chosen[1].seq, 1000)
        self.patience_s = 0.0
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self.loop)
        monkeypatch.setattr(results_module, "make_fence", lambda: self._fence)
        monkeypatch.setattr(doorbell, "wait", lambda _: None)
        link: Any = self
        encoder: Any = SimpleNamespace(encode_any_size=None)
        self.worker = worker = Worker(self._pop_many)
        pool: Any = SimpleNamespace(board={layout.SUPERVISOR_SLEEPING: 0}, with_news=lambda: [worker])
        self.board = pool.board
        self.results = Results(
            pool,
            self.dispatcher,
            Verdicts(self.outbox, encoder, link),
            link,
            bell=-1,
            pump=lambda: self.told.append("pump"),
            max_result=1 << 20,
        )
        self.results.start(lambda: self.told.append("settled"), lambda: self.told.append("awake"))

    def results_ready(self) -> None:
        self.told.append("results")

    def slots_changed(self) -> None:
        self.told.append("slots")

    def _pop_many(self, limit: int) -> list[bytes]:
        taken, self.records = self.records[:limit], self.records[limit:]
        return taken

    def _fence(self) -> None:
        self.records += self.published_after_fence
        self.published_after_fence.clear()

    def run_tasks(self, count: int = 1, run_ns: int = 1000) -> list[bytes]:
        """The records of so many tasks that the worker was given and has done."""
        records = []
        for _ in range(count):
            placed = self.dispatcher.place(Task("id", "act"), 1.0, 1)
            assert placed is not None
            records.append(frame.encode_result(placed[1].seq, run_ns, "success", b"{}"))
        return records

    @property
    def is_asleep(self) -> bool:
        return bool(self.board[layout.SUPERVISOR_SLEEPING])


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


def test_it_starts_asleep(rig: Rig) -> None:
    assert rig.is_asleep
    assert rig.loop.is_quiet


def test_a_result_is_announced_in_the_bells_turn_and_slots_in_the_next(rig: Rig) -> None:
    rig.records = rig.run_tasks()
    rig.loop.on_bell()
    assert rig.told == ["pump", "results"]
    assert not rig.is_asleep
    rig.loop.turn()
    assert rig.told == ["pump", "results", "slots", "settled"]
    assert rig.is_asleep
    assert rig.loop.is_quiet
    assert len(rig.outbox) == 1


def test_a_bell_for_nothing_changes_nothing(rig: Rig) -> None:
    rig.loop.on_bell()
    assert rig.told == []
    assert rig.is_asleep
    assert rig.loop.is_quiet


def test_what_is_published_just_before_it_sleeps_is_found(rig: Rig) -> None:
    rig.published_after_fence = rig.run_tasks()
    rig.loop.on_bell()
    assert len(rig.outbox) == 1
    assert not rig.is_asleep
    rig.loop.turn()
    assert rig.is_asleep


def test_a_bell_while_a_look_is_due_starts_no_second_one(rig: Rig) -> None:
    rig.records = rig.run_tasks(2)[:1]
    rig.loop.on_bell()
    rig.loop.on_bell()
    assert len(rig.loop.soon) == 1


def test_more_than_one_turn_takes_is_taken_in_the_next(rig: Rig) -> None:
    rig.records = rig.run_tasks(100)
    rig.loop.on_bell()
    assert len(rig.outbox) == 64
    rig.loop.turn()
    assert len(rig.outbox) == 100


def dozing(rig: Rig, patience_s: float = 0.004) -> None:
    """Have it doze: the hub is busy with results of short tasks."""
    rig.patience_s = patience_s
    rig.records = rig.run_tasks(40)
    rig.loop.on_bell()
    rig.loop.turn()
    assert [delay for delay, _ in rig.loop.later] == [patience_s]
    assert not rig.is_asleep


def test_it_dozes_as_long_as_the_link_has_patience(rig: Rig) -> None:
    dozing(rig, 0.007)


def test_without_patience_it_sleeps_however_much_waits(rig: Rig) -> None:
    rig.records = rig.run_tasks(40)
    rig.loop.on_bell()
    rig.loop.turn()
    assert rig.is_asleep


def test_a_late_bell_does_not_end_a_doze(rig: Rig) -> None:
    dozing(rig)
    rig.loop.on_bell()
    assert not rig.is_asleep
    assert len(rig.loop.later) == 1


def test_results_found_after_a_doze_go_on_and_doze_again(rig: Rig) -> None:
    dozing(rig)
    rig.told.clear()
    rig.records = rig.run_tasks(3)
    rig.loop.time_passes()
    assert rig.told == ["pump", "results", "awake", "slots", "settled"]
    assert len(rig.outbox) == 43
    assert len(rig.loop.later) == 1


def test_dozes_that_find_nothing_end_in_sleep_and_tell_of_slots_each_time(rig: Rig) -> None:
    dozing(rig)
    rig.told.clear()
    looks = 0
    while not rig.is_asleep:
        looks += 1
        assert looks < 10, "it never sleeps"
        rig.loop.time_passes()
    assert rig.told == ["awake", "slots", "settled"] * looks
    assert rig.loop.is_quiet


def test_stop_ends_what_is_due(rig: Rig) -> None:
    dozing(rig)
    rig.results.stop()
    rig.told.clear()
    rig.loop.time_passes()
    assert rig.told == []


def test_collect_for_a_judge_spreads_the_news_later(rig: Rig) -> None:
    rig.records = rig.run_tasks(2)
    [worker] = rig.results._pool.with_news()
    rig.results.collect(worker)
    assert len(rig.outbox) == 2
    assert rig.told == []
    rig.loop.turn()
    assert rig.told == ["pump", "results", "slots", "settled"]


class NoDescriptor:
    """A worker's parcels, which cannot be taken at this moment."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.is_there = False

    def take(self, _limit: int) -> bytes:
        if not self.is_there:
            raise parcels.NotNow(24, "none")
        return self.bodies.pop(0)


def test_a_body_that_cannot_be_taken_waits_and_what_needs_none_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, side = Rig(monkeypatch), NoDescriptor()
    worker = rig.worker
    monkeypatch.setattr(worker, "take_parcel", side.take, raising=False)
    seqs: list[int] = []
    for _ in range(4):
        placed = rig.dispatcher.place(Task(f"task-{len(seqs)}", "act"), 1.0, 1)
        assert placed is not None
        seqs.append(placed[1].seq)
    rig.records = [
        frame.encode_result_reference(seqs[0], 1000, "success"),
        frame.encode_result(seqs[1], 1000, "success", b"small"),
        frame.encode_result_reference(seqs[2], 1000, "success"),
        frame.encode_result(seqs[3], 1000, "success", b"small"),
    ]
    side.bodies = [b"first", b"second"]
    rig.loop.on_bell()
    while rig.loop.soon:
        rig.loop.turn()
    assert len(rig.outbox) == 2
    assert len([delay for delay, handle in rig.loop.later if not handle.is_cancelled and delay == 0.05]) == 1
    side.is_there = True
    for _ in range(5):
        rig.loop.time_passes()
    found = []
    while (outcome := rig.outbox.take()) is not None:
        found.append((outcome.task.id, outcome.result))
    assert sorted(found) == [("task-0", b"first"), ("task-1", b"small"), ("task-2", b"second"), ("task-3", b"small")]


def test_a_round_that_fails_at_one_worker_comes_back_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    rig.records = rig.run_tasks(3)
    outbox_append, failures = rig.outbox.append, iter([RuntimeError("injected")])

    def flaky(outcome: Any) -> None:
        for error in failures:
            raise error
        outbox_append(outcome)

    monkeypatch.setattr(rig.outbox, "append", flaky)
    with pytest.raises(RuntimeError):
        rig.loop.on_bell()
    for _ in range(5):
        rig.loop.time_passes()
    assert len(rig.outbox) == 3
