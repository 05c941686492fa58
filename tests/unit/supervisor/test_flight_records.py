"""Every verdict is recorded once, with all that is known of its way; and what is recorded can be read page by page."""

from __future__ import annotations

import math
from typing import Any

import pytest
from flow_support import FakeWorker, Rig, rig, tasks

from arbd.control.protocol import GetTrace, encode
from arbd.ipc import frame
from arbd.model.flight import NO_WORKER, Flight
from arbd.model.task import Task
from arbd.supervisor import tracing
from arbd.supervisor.tracing import Tracing

__all__ = ["rig"]
S = 1_000_000_000


def answer(worker: FakeWorker, task_id: str, since_ns: int, run_ns: int, woke_ns: int = 0) -> None:
    [assignment] = [each for each in worker.has if each.task.id == task_id]
    worker.has.remove(assignment)
    worker.cell.records.append(frame.encode_result(assignment.seq, run_ns, "success", b"{}", since_ns, woke_ns))


def at(rig: Rig, seconds: float) -> None:
    rig.loop.now = seconds


def flights(rig: Rig) -> dict[str, Flight]:
    recorder = rig.flow.recorder
    assert len(recorder.flights) == rig.flow.verdicts.total
    return {each.id: each for each in recorder.flights}


def test_a_task_that_ran(rig: Rig) -> None:
    at(rig, 1)
    rig.flow.take(tasks("a"))
    [worker] = [each for each in rig.workers if each.has]
    answer(worker, "a", 2 * S, 1 * S, woke_ns=5)
    at(rig, 4)
    rig.flow.collect()
    assert flights(rig) == {"a": Flight("a", "act", worker.slot, worker.pid, "success", S, 0, 2 * S, 5, S, 4 * S)}
    at(rig, 6)
    rig.outcomes()
    assert rig.flow.recorder.acks.after(0, 10) == [("a", 6 * S)]


def test_a_task_that_waited_tells_when_it_was_sent(rig: Rig) -> None:
    at(rig, 1)
    rig.flow.take(tasks("a", "b", "c", "waits"))
    [worker] = [each for each in rig.workers if each.has and each.has[0].task.id == "a"]
    answer(worker, "a", S, 100)
    at(rig, 3)
    rig.flow.collect()
    answer(worker, "waits", 3 * S, 100)
    rig.flow.collect()
    assert (flights(rig)["waits"].taken_ns, flights(rig)["waits"].sent_ns) == (S, 3 * S)


def test_a_task_that_is_refused(rig: Rig) -> None:
    at(rig, 2)
    rig.flow.take([Task("late", "act", deadline=1.0), Task("x" * 5000, "act"), Task("u", "y" * 5000)])
    found = list(rig.flow.recorder.flights)
    assert [(each.worker, each.status, each.taken_ns, each.answered_ns) for each in found] == [
        (NO_WORKER, "error", 2 * S, 2 * S)
    ] * 3
    assert max(len(each.id) + len(each.action) for each in found) < 500


def test_a_task_whose_worker_was_killed_or_died_tells_how_long_it_ran(rig: Rig) -> None:
    at(rig, 1)
    rig.flow.take(tasks("late", "lost"))
    of = {each.has[0].task.id: each for each in rig.workers if each.has}
    for task_id, worker in of.items():
        worker.begin(task_id, 2 * S)
    at(rig, 5)
    rig.flow.lose(of["late"], of["late"].has[0])  # type: ignore[arg-type] # a fake
    rig.flow.settle(of["lost"], -9)  # type: ignore[arg-type] # a fake
    for task_id, worker in of.items():
        flight = flights(rig)[task_id]
        assert (flight.worker, flight.pid) == (worker.slot, worker.pid)
        assert (flight.since_ns, flight.run_ns, flight.answered_ns) == (2 * S, 3 * S, 5 * S)


def test_a_task_that_waited_behind_it_is_recorded_once_in_the_end(rig: Rig) -> None:
    rig.learn_that_tasks_are_short()
    rig.flow.take(tasks(*"abcdef"))
    [first, *_] = [each for each in rig.workers if each.has]
    first.begin(first.has[0].task.id, 1)
    rig.flow.settle(first, -9)  # type: ignore[arg-type] # a fake
    for worker in rig.workers:
        if worker is not first:
            worker.answer()
    rig.flow.collect()
    for worker in rig.workers:
        if worker is not first:
            worker.answer()
    rig.flow.collect()
    assert set(flights(rig)) == set("abcdef")


def test_a_recorder_that_fails_costs_no_verdict(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(rig.flow, "_record", fails)
    rig.flow.take(tasks("a"))
    [worker] = [each for each in rig.workers if each.has]
    worker.answer()
    with pytest.raises(MemoryError):
        rig.flow.collect()
    assert set(rig.outcomes()) == {"a"}


# -- read -----------------------------------------------------------------------------------------------------------


def test_what_runs_now_is_told_with_its_times(rig: Rig) -> None:
    at(rig, 1)
    rig.flow.take(tasks("\x1b[2J\ud800"))
    [worker] = [each for each in rig.workers if each.has]
    worker.begin("\x1b[2J\ud800", 2 * S)
    reply = Tracing(rig.flow).page(GetTrace(), "p")
    [running] = reply.running
    assert (running.taken_ns, running.since_ns, running.answered_ns, running.pid) == (S, 2 * S, 0, worker.pid)
    assert running.id.isprintable()
    assert encode(reply).isascii()
    assert (reply.flights, reply.total, reply.has_more) == ([], 0, False)


def test_pages_follow_each_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "PAGE", 2)
    for number in range(5):
        at(rig, number + 1)
        rig.flow.take([Task(f"t{number}", "unknown", deadline=math.inf)])
        rig.outcomes()
    seen, request, more = [], GetTrace(), True
    while more:
        reply = Tracing(rig.flow).page(request, "p")
        seen += [each.id for each in reply.flights]
        assert [task_id for task_id, _ in reply.acks] == [each.id for each in reply.flights]
        if reply.flights:
            request = GetTrace(answered_after_ns=reply.flights[-1].answered_ns, acked_after_ns=reply.acks[-1][1])
        more = reply.has_more
    assert seen == [f"t{number}" for number in range(5)]
