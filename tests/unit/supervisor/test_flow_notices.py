"""A worker that says that it leaves has begun nothing that it has not answered: that goes back in line, in its order,
and runs once elsewhere. What is no notice is a damaged ring; an action that ends workers is counted."""

from __future__ import annotations

from typing import Any

import pytest
from flow_support import FakeWorker, Rig, rig, tasks

from arbd.core.history import Why
from arbd.core.lifecycle import State
from arbd.host import parcels
from arbd.ipc import frame, notice
from arbd.ipc.notice import Leaving, Notice, ReplaceSoon, Unfit
from arbd.ipc.ring import RingCorruptError
from arbd.supervisor import halt

__all__ = ["rig"]

INTERRUPTED = Leaving("interrupted", "its deadline struck", "act")


def crowded(rig: Rig, *ids: str) -> FakeWorker:
    """The worker that has these tasks, all of them."""
    rig.learn_that_tasks_are_short()
    rig.flow.take(tasks(*ids))
    [worker] = [each for each in rig.workers if each.has]
    return worker


def say(worker: FakeWorker, said: Notice) -> None:
    worker.cell.records.append(frame.encode_notice(notice.encode(said)))


@pytest.mark.parametrize("said", [INTERRUPTED, ReplaceSoon("tasks"), Unfit("no database")])
def test_the_pool_hears_of_it(rig: Rig, said: Notice) -> None:
    say(rig.workers[0], said)
    rig.flow.collect()
    assert rig.pool.heard == [(1, said)]
    assert rig.pool.given_up == []


def test_what_it_has_not_begun_goes_elsewhere_in_its_order_and_its_answer_stands(rig: Rig) -> None:
    worker = crowded(rig, "a", "b", "c", "d")
    worker.begin("a")
    worker.answer("a")
    say(worker, INTERRUPTED)
    left, worker.has = worker.has, []
    rig.flow.collect()
    assert rig.results() == {"a": '{"n":1}'}
    assert sorted(rig.sent) == ["b", "c", "d"]
    assert [each.task.id for other in rig.workers if other is not worker for each in other.has] == ["b", "c", "d"]
    for each in left:
        worker.cell.records.append(frame.encode_skipped(each.seq))
    rig.flow.collect()  # it says of each that it has not begun it
    assert sorted(rig.sent) == ["b", "c", "d"]
    for other in rig.workers:
        other.answer()
    rig.flow.collect()
    assert sorted(rig.results()) == ["b", "c", "d"]


def test_those_that_were_cancelled_meanwhile_are_told_so(rig: Rig) -> None:
    worker = crowded(rig, "a", "b")
    rig.flow.cancel(["b"])
    worker.answer("a")
    say(worker, INTERRUPTED)
    rig.flow.collect()
    assert "CANCELLED" in rig.results()["b"]


def test_a_notice_does_not_overtake_an_answer_that_waits_for_a_descriptor(rig: Rig) -> None:
    worker = crowded(rig, "a", "b")
    [a, _] = worker.has
    worker.bodies = [parcels.NotNow(24, "Too many open files")]
    worker.cell.records.append(frame.encode_result_reference(a.seq, 1000, "success"))
    say(worker, INTERRUPTED)
    rig.flow.collect()
    assert rig.pool.heard == []
    worker.bodies = [b'"large"']
    rig.flow.collect()
    assert rig.results() == {"a": '"large"'}
    assert [said for _, said in rig.pool.heard] == [INTERRUPTED]


def test_one_that_ends_after_it_has_said_so_loses_no_task(rig: Rig) -> None:
    """Its page may name a task that it has announced, and skips."""
    worker = crowded(rig, "a", "b")
    worker.answer("a")
    worker.begin("b")
    say(worker, INTERRUPTED)
    rig.flow.settle(worker, -9)  # type: ignore[arg-type] # all of a worker that is looked at
    assert rig.results() == {"a": '{"n":1}'}
    assert sorted(rig.sent) >= ["b"]


@pytest.mark.parametrize("body", [b"", b"\xff", b"\x81\xa4type\xa7Leaving", b"\x91" * 2000])
def test_what_is_no_notice_is_a_damaged_ring(rig: Rig, body: bytes) -> None:
    worker = crowded(rig, "a")
    worker.cell.records.append(frame.encode_notice(body))
    rig.flow.collect()
    assert rig.pool.given_up == ["result_ring_unreadable"]
    assert rig.pool.killed == [worker.id]


def test_so_is_one_that_cannot_be_said_by_this_worker(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RingCorruptError("it was not told to")

    monkeypatch.setattr(rig.pool, "heed", refuse)
    say(rig.workers[0], INTERRUPTED)
    rig.flow.collect()
    assert rig.pool.given_up == ["result_ring_unreadable"]


def test_a_mark_to_leave_stays_when_a_judgement_is_lifted(rig: Rig) -> None:
    worker = crowded(rig, "a", "b")
    assignment = worker.begin("a")
    worker.answer("a")
    say(worker, INTERRUPTED)
    flow_worker: Any = worker
    assert halt.kill(rig.flow, flow_worker, assignment)
    assert worker.cell.marks[-1] == 2
    assert rig.pool.killed == []
    assert rig.results()["a"] == '{"n":1}'


# -- who is to blame -------------------------------------------------------------------------------------------------


def test_an_action_that_ends_workers_is_counted_until_it_does_not(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    for worker in rig.workers[:2]:
        say(worker, INTERRUPTED)
    rig.flow.collect()
    assert rig.flow.culprits.counts() == {"act": 2}
    assert capsys.readouterr().err.count("action_ends_workers") == 1
    rig.flow.take(tasks("good"))
    rig.workers[2].answer()
    rig.flow.collect()
    assert rig.flow.culprits.counts() == {}


def test_names_that_are_no_actions_are_not_counted(rig: Rig) -> None:
    say(rig.workers[0], Leaving("changed", "", "no such action"))
    rig.flow.collect()
    assert rig.flow.culprits.counts() == {}


def test_one_that_dies_of_it_counts_and_is_noted(rig: Rig) -> None:
    rig.flow.take(tasks("a"))
    [worker] = [each for each in rig.workers if each.has]
    worker.begin("a")
    flow_worker: Any = worker
    rig.flow.settle(flow_worker, 3)
    assert rig.flow.culprits.counts() == {"act": 1}
    assert rig.pool.noted == [(worker.id, Why("died", "it exited with code 3", "act"))]


def test_one_that_is_killed_for_it_does_too(rig: Rig) -> None:
    rig.flow.take(tasks("a"))
    [worker] = [each for each in rig.workers if each.has]
    assignment = worker.begin("a")
    flow_worker: Any = worker
    assert halt.kill(rig.flow, flow_worker, assignment)
    assert worker.state is State.CONDEMNED
    assert rig.flow.culprits.counts() == {"act": 1}
    assert rig.pool.noted == [(worker.id, Why("timeout", "its task ran on after 1 s", "act"))]
