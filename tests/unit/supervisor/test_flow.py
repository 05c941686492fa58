"""Whatever is raised while tasks are taken, each of them has its verdict or is with the dispatcher; a task that cannot
be handed over goes back in line, for a while; and each collaborator of the path is met failing, at each call."""

from __future__ import annotations

import math
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest
from flow_support import Rig, rig, tasks

from arbd.core.lifecycle import State
from arbd.host import doorbell, parcels
from arbd.ipc import frame
from arbd.ipc.cell import Running
from arbd.ipc.ring import RingCorruptError
from arbd.links.base import LinkHealth
from arbd.model.link_stats import LinkStats
from arbd.model.response import timed_out
from arbd.model.task import Task

__all__ = ["rig"]


class Boom(Exception):
    """Something nobody expects."""


def failing(*errors: BaseException, then: Any = lambda *_: None) -> Any:
    """A function that raises these, one a call, and then does what it should."""
    left = iter(errors)

    def call(*args: Any) -> Any:
        for each in left:
            raise each
        return then(*args)

    return call


# -- take ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("injected"), MemoryError(), KeyError("x")])
def test_something_unexpected_at_one_task_leaves_none_of_them_without_a_place(rig: Rig, error: Exception) -> None:
    for worker in rig.workers:
        worker.error["b"] = error
    with pytest.raises(type(error)):
        rig.flow.take(tasks("a", "b", "c", "d"))
    assert rig.sent == ["a"]
    given = rig.results()
    assert rig.waiting() == {"a", "b"}
    assert set(given) == {"c", "d"}
    assert all("ABORTED" in verdict for verdict in given.values())
    assert rig.woken == [3]  # the one that was sent something before


def test_what_has_its_verdict_gets_no_second_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.flow.outbox, "append", lambda _: (_ for _ in ()).throw(RuntimeError("injected")))
    with pytest.raises(RuntimeError):
        rig.flow.take([Task("a", "unknown"), *tasks("b")])
    monkeypatch.undo()
    rig.flow.verdicts.save_kept()
    given = rig.results()
    assert "not found" in given.pop("a")
    assert set(given) <= {"b"}


@pytest.mark.parametrize(
    ("task", "code"),
    [
        (Task("a", "unknown"), "not found"),
        (Task("a" * 1001, "act"), "1001 characters"),
        (Task("a", "act", b"x" * 101), "PAYLOAD_TOO_LARGE"),
        (Task("a", "act", b"", b"x" * 101), "account"),
        (Task("a", "act", deadline=100.0), "EXPIRED"),
    ],
)
def test_a_task_that_cannot_run_is_told_so_and_the_link_is_told_once(rig: Rig, task: Task, code: str) -> None:
    rig.flow.take([task, *tasks("b")])
    [verdict] = rig.results().values()
    assert code in verdict
    assert rig.sent == ["b"]
    assert rig.told == ["results"]


def test_a_task_that_comes_after_the_drain_is_aborted(rig: Rig) -> None:
    rig.flow.refuse_all()
    rig.flow.take(tasks("a"))
    assert "ABORTED" in rig.results()["a"]


def test_a_deadline_is_looked_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks it may pass, and a task would be said to have timed out after less than nothing."""
    clock = iter([100.0, 100.5])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    rig.flow.take([Task("a", "act", deadline=100.2)])
    [assignment] = rig.flow.dispatcher.drop_everything()
    assert assignment.timeout == pytest.approx(0.2)


def test_verdicts_that_fail_when_something_unexpected_happened_keep_no_other_from_its_own(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = rig.flow.outbox.append
    flaky = failing(RuntimeError("injected"), RuntimeError("injected"), then=append)
    monkeypatch.setattr(rig.flow.outbox, "append", flaky)
    with pytest.raises(RuntimeError):
        rig.flow.take([Task(str(n), "unknown") for n in range(5)])
    rig.flow.verdicts.save_kept()
    assert set(rig.results()) == {"0", "1", "2", "3", "4"}


@pytest.mark.parametrize("call", ["fence", "ring", "on_sent", "worker_sleeps"])
def test_what_fails_when_workers_are_woken_leaves_every_task_with_the_dispatcher(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    owners: dict[str, Any] = {"fence": rig.pool, "ring": doorbell, "on_sent": rig.flow}
    monkeypatch.setattr(owners.get(call, rig.workers[2].cell), call, failing(Boom()))
    with pytest.raises(Boom):
        rig.flow.take([Task("x", "unknown"), *tasks("a", "b", "c", "d")])
    assert set(rig.results()) == {"x"}
    assert rig.waiting() == {"a", "b", "c", "d"}


def test_slots_are_none_while_too_many_results_wait_for_the_hub(rig: Rig) -> None:
    assert rig.flow.free_slots() > 0
    rig.flow.take([Task(str(n), "unknown") for n in range(100)])
    assert rig.flow.free_slots() == 0


# -- pump ------------------------------------------------------------------------------------------------------------


def no_room(rig: Rig) -> None:
    for worker in rig.workers:
        worker.has_room = False


def test_a_task_that_cannot_be_handed_over_is_tried_again_until_it_can(rig: Rig) -> None:
    no_room(rig)
    rig.flow.take(tasks("a", "b"))
    for _ in range(50):
        rig.loop.time_passes()
    assert (rig.sent, rig.results()) == ([], {})
    for worker in rig.workers:
        worker.has_room = True
    rig.loop.time_passes()
    assert sorted(rig.sent) == ["a", "b"]


def test_one_that_never_can_is_told_so_and_the_next_has_its_own_time(rig: Rig) -> None:
    no_room(rig)
    rig.flow.take(tasks("a", "b"))
    for _ in range(110):
        rig.loop.time_passes()
    assert {task_id: "NO_RESOURCES" in verdict for task_id, verdict in rig.results().items()} == {"a": True}
    assert rig.told.count("slots") == 1
    for _ in range(110):
        rig.loop.time_passes()
    assert set(rig.results()) == {"b"}


def test_one_that_the_machine_will_never_take_is_told_why_and_the_next_goes_on(rig: Rig) -> None:
    for worker in rig.workers:
        worker.error["a"] = OSError(27, "File too large")
    rig.flow.take(tasks("a", "b"))
    rig.loop.time_passes()
    assert rig.sent == ["b"]
    given = rig.results()
    assert set(given) == {"a"}
    assert "NO_RESOURCES" in given["a"]
    assert "File too large" in given["a"]


def test_a_task_ring_that_is_damaged_costs_its_worker_and_not_the_task(rig: Rig) -> None:
    rig.workers[2].error["a"] = RingCorruptError("impossible")
    rig.flow.take(tasks("a"))
    assert rig.pool.given_up == ["task_ring_unreadable"]
    rig.loop.time_passes()
    assert rig.sent == ["a"]
    assert rig.results() == {}


def test_a_reload_tells_those_that_wait_for_an_action_that_is_gone(rig: Rig) -> None:
    no_room(rig)
    rig.flow.take(tasks("a"))
    rig.set_actions("other")
    assert "not found" in rig.results()["a"]


def test_a_reload_in_which_something_fails_leaves_none_of_those_that_wait_without_a_place(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_room(rig)
    rig.flow.take(tasks("a", "b", "c", "d"))
    for each in rig.flow.dispatcher._backlog:
        each.cancelled_at_ns = int(each.task.id in "ab")
    monkeypatch.setattr(rig.flow.outbox, "append", failing(Boom(), Boom(), Boom(), then=rig.flow.outbox.append))
    with pytest.raises(Boom):
        rig.set_actions("other")
    assert [type(each) for each in rig.loop.reported] == [Boom, Boom]
    assert rig.flow.verdicts.save_kept()
    assert set(rig.results()) == {"a", "b", "c", "d"}


def test_a_round_of_sending_that_fails_is_made_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """No result might come that would have the others sent."""
    no_room(rig)
    rig.flow.take([Task("a", "act", deadline=100.1), *tasks("b")])
    for worker in rig.workers:
        worker.has_room = True
    rig.loop.now += 1.0
    monkeypatch.setattr(rig.flow.outbox, "append", failing(Boom(), then=rig.flow.outbox.append))
    with pytest.raises(Boom):
        rig.flow.pump()
    assert rig.sent == []
    rig.loop.time_passes()
    assert rig.sent == ["b"]
    assert "EXPIRED" in rig.results()["a"]


# -- collect ---------------------------------------------------------------------------------------------------------


def test_results_go_to_the_outbox_and_rings_are_filled_again(rig: Rig) -> None:
    rig.flow.take(tasks(*map(str, range(10))))
    first = set(rig.sent)
    for worker in rig.workers:
        worker.answer()
    assert rig.flow.collect() == len(first)
    assert set(rig.results()) == first
    assert rig.sent, "the others were not sent"
    assert rig.told[-1] == "results"


def test_a_late_answer_to_a_task_that_has_its_verdict_goes(rig: Rig) -> None:
    rig.flow.take(tasks("a"))
    worker = rig.workers[2]
    assignment = worker.begin("a")
    rig.flow.lose(worker, assignment)  # type: ignore[arg-type] # a fake
    worker.answer()
    rig.flow.collect()
    assert "TIMEOUT" in rig.results()["a"]


def test_a_skipped_task_comes_again(rig: Rig) -> None:
    rig.flow.take(tasks("a"))
    worker = rig.workers[2]
    worker.cell.records.append(frame.encode_skipped(worker.has.pop().seq))
    rig.flow.collect()
    assert rig.sent == ["a"]


@pytest.mark.parametrize("record", [b"", b"x" * 10, b"\xff" * 64])
def test_a_record_that_cannot_be_costs_its_worker(rig: Rig, record: bytes) -> None:
    rig.flow.take(tasks("a"))
    rig.workers[2].cell.records.append(record)
    rig.flow.collect()
    assert rig.pool.given_up == ["result_ring_unreadable"]
    assert rig.pool.killed == [3]


def test_a_ring_that_cannot_be_read_costs_its_worker(rig: Rig) -> None:
    rig.workers[0].cell.fails = RingCorruptError("impossible")
    rig.flow.collect()
    assert rig.pool.killed == [1]


def test_a_round_that_fails_at_one_worker_comes_back_to_the_others(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.flow.take(tasks("a", "b", "c"))
    for worker in rig.workers:
        worker.answer()
    monkeypatch.setattr(rig.flow.outbox, "append", failing(RuntimeError("injected"), then=rig.flow.outbox.append))
    with pytest.raises(RuntimeError):
        rig.flow.collect()
    rig.flow.collect()
    rig.flow.verdicts.save_kept()
    assert set(rig.results()) == {"a", "b", "c"}


def test_a_body_that_cannot_be_taken_waits_and_what_needs_none_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, workers=1)
    [worker] = rig.workers
    rig.learn_that_tasks_are_short()
    rig.flow.take(tasks("task-0", "task-1", "task-2", "task-3"))
    seqs = [each.seq for each in worker.has]
    worker.cell.records = [
        frame.encode_result_reference(seqs[0], 1000, "success"),
        frame.encode_result(seqs[1], 1000, "success", b"small"),
        frame.encode_result_reference(seqs[2], 1000, "success"),
        frame.encode_result(seqs[3], 1000, "success", b"small"),
    ]
    worker.bodies = [parcels.NotNow(24, "none")]
    assert rig.flow.collect() == 2
    assert [handle.delay_s for handle in rig.loop.later] == [0.05]
    worker.bodies = [b"first", b"second"]
    rig.woken.clear()
    rig.loop.time_passes()
    assert rig.woken == [rig.pool.bell]  # whoever listens looks until nothing is left
    rig.flow.collect()
    assert rig.results() == {"task-0": "first", "task-1": "small", "task-2": "second", "task-3": "small"}


def test_something_unexpected_at_a_body_costs_no_other_task_its_own_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record stays, so that the task, which has run, is not run again when its worker ends."""
    rig = Rig(monkeypatch, workers=1)
    [worker] = rig.workers
    rig.learn_that_tasks_are_short()
    rig.flow.take(tasks("large", "small"))
    large, small = worker.has
    worker.cell.records = [
        frame.encode_result_reference(large.seq, 1000, "success"),
        frame.encode_result(small.seq, 1000, "success", b"small"),
    ]
    monkeypatch.setattr(worker, "take_parcel", failing(Boom(), *[parcels.NotNow(5, "not known")] * 30))
    worker.has.clear()
    rig.flow.collect()
    assert [type(error) for error in rig.loop.reported] == [Boom]
    assert rig.results() == {"small": "small"}
    rig.flow.settle(worker, 0)  # type: ignore[arg-type] # a fake
    assert "WORKER_LOST" in rig.results()["large"]
    assert rig.sent == []


def test_collecting_for_a_judge_tells_the_others_later(rig: Rig) -> None:
    rig.flow.take(tasks("a", "b"))
    rig.told.clear()
    worker = rig.workers[2]
    worker.answer()
    rig.flow.collect_from(worker)  # type: ignore[arg-type] # a fake
    assert rig.told == []
    rig.loop.turn()
    assert rig.told == ["results", "slots"]


def test_a_worker_that_says_twice_that_it_is_ready_is_killed(rig: Rig) -> None:
    rig.workers[0].cell.records.append(frame.encode_result(frame.READY_SEQ, 0, "success", b""))
    rig.flow.collect()
    assert rig.pool.killed == [1]


# -- give ------------------------------------------------------------------------------------------------------------


def test_a_verdict_that_cannot_be_encoded_is_given_in_its_plainest_form(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.flow, "_encode", failing(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        rig.flow.decide(Task("t-1", "act", b""), timed_out("act", 2))
    [outcome] = rig.outcomes().values()
    assert outcome.status == "error"
    assert b'"error_code":"TIMEOUT"' in outcome.result


def test_a_verdict_that_the_outbox_does_not_take_is_offered_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(rig.flow.outbox, "append", failing(full, full, full, then=rig.flow.outbox.append))
    rig.flow.take([Task("a", "unknown")])
    assert len(rig.flow.verdicts) == 1
    assert rig.results() == {}
    for _ in range(3):
        rig.loop.time_passes()
    assert set(rig.results()) == {"a"}
    assert rig.loop.is_quiet


@pytest.mark.parametrize("call", ["results_ready", "slots_changed"])
def test_a_link_that_raises_costs_no_task(rig: Rig, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    rig.flow.take(tasks("a"))
    for worker in rig.workers:
        worker.answer()
    monkeypatch.setattr(rig.flow.link, call, failing(Boom()))
    with pytest.raises(Boom):
        (rig.flow.collect if call == "results_ready" else rig.flow.tell_of_room)()
    rig.flow.collect()
    assert set(rig.results()) == {"a"}


# -- lose, settle ----------------------------------------------------------------------------------------------------


def test_a_worker_s_end_costs_the_task_it_was_running_and_no_other(rig: Rig) -> None:
    rig.learn_that_tasks_are_short()
    rig.flow.take(tasks("a", "b", "c"))
    [worker] = [each for each in rig.workers if each.has]
    worker.begin("a")
    rig.flow.settle(worker, -signal.SIGSEGV)  # type: ignore[arg-type] # a fake
    given = rig.results()
    assert set(given) == {"a"}
    assert "WORKER_LOST" in given["a"]
    assert "SIGSEGV" in given["a"]
    worker.has.clear()
    assert sorted(rig.sent) == ["b", "c"]


def test_results_in_the_ring_of_a_dead_worker_count(rig: Rig) -> None:
    rig.flow.take(tasks("a"))
    worker = rig.workers[2]
    worker.begin("a")
    worker.answer()
    rig.flow.settle(worker, 1)  # type: ignore[arg-type] # a fake
    assert rig.results() == {"a": '{"n":1}'}


def test_all_results_of_a_dead_worker_count_although_one_of_them_cannot_be_kept(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.learn_that_tasks_are_short()
    rig.flow.take(tasks("a", "b", "c"))
    [worker] = [each for each in rig.workers if each.has]
    worker.answer()
    monkeypatch.setattr(rig.flow.outbox, "append", failing(Boom(), then=rig.flow.outbox.append))
    with pytest.raises(Boom):
        rig.flow.settle(worker, -signal.SIGKILL)  # type: ignore[arg-type] # a fake
    assert rig.flow.verdicts.save_kept()
    assert rig.results() == dict.fromkeys("abc", '{"n":1}')


def test_nobody_can_tell_what_ran_in_a_worker_whose_ring_is_damaged(rig: Rig) -> None:
    rig.learn_that_tasks_are_short()
    rig.flow.take(tasks("a", "b", "c"))
    [worker] = [each for each in rig.workers if each.has]
    worker.damaged = True
    rig.flow.settle(worker, None)  # type: ignore[arg-type] # a fake
    assert {task_id: "WORKER_LOST" in text for task_id, text in rig.results().items()} == {
        "a": True,
        "b": True,
        "c": True,
    }


def test_a_result_whose_body_could_not_be_had_until_the_end_is_lost_and_not_run_again(rig: Rig) -> None:
    rig.flow.take(tasks("a"))
    worker = rig.workers[2]
    worker.cell.records = [frame.encode_result_reference(worker.has.pop().seq, 1000, "success")]
    worker.bodies = [parcels.NotNow(24, "none")]
    rig.flow.settle(worker, 0)  # type: ignore[arg-type] # a fake
    assert "WORKER_LOST" in rig.results()["a"]
    assert rig.sent == []


def test_a_condemned_worker_has_its_verdict_and_what_its_page_names_had_not_begun(rig: Rig) -> None:
    rig.learn_that_tasks_are_short()
    rig.flow.take(tasks("a", "b"))
    [worker] = [each for each in rig.workers if each.has]
    rig.flow.lose(worker, worker.begin("a"))  # type: ignore[arg-type] # a fake
    worker.begin("b")
    worker.state = State.CONDEMNED
    rig.flow.settle(worker, -signal.SIGKILL)  # type: ignore[arg-type] # a fake
    assert set(rig.results()) == {"a"}
    worker.has.clear()
    assert rig.sent == ["b"]


@pytest.mark.parametrize(
    ("own_s", "deadline", "why"),
    [(None, 0.0, "execution_timeout"), (0.5, 0.0, "the timeout= of the action"), (5.0, 100.25, "own deadline")],
)
def test_a_task_that_was_killed_for_its_timeout_is_told_which_one_held(
    rig: Rig, own_s: float | None, deadline: float, why: str
) -> None:
    rig.set_actions("act", timeout=own_s)
    rig.flow.take([Task("a", "act", deadline=deadline or math.inf)])
    worker = rig.workers[2]
    rig.flow.lose(worker, worker.begin("a"))  # type: ignore[arg-type] # a fake
    assert why in rig.results()["a"]


def test_a_worker_whose_results_fail_is_settled_all_the_same(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.flow.take(tasks("a"))
    worker = rig.workers[2]
    worker.cell.runs = Running(worker.has[0].seq, 1)
    monkeypatch.setattr(rig.flow, "collect_from", failing(Boom()))
    with pytest.raises(Boom):
        rig.flow.settle(worker, 0)  # type: ignore[arg-type] # a fake
    assert "WORKER_LOST" in rig.results()["a"]


# -- what waits for room at a limit ----------------------------------------------------------------------------------


def test_a_limit_that_holds_the_provider_back_has_a_say_in_slots(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.flow, "_hold", SimpleNamespace(room=lambda: 1, close=lambda: None))
    assert rig.flow.free_slots() == 1


# -- what waits, for who judges whether it goes on ---------------------------------------------------------------------


def test_who_judges_sees_what_waits_and_what_could_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Rig(monkeypatch, workers=1)
    one.stats = LinkStats(state="up", submits=3, accepted=2)
    one.found = LinkHealth("its task has ended", may_send=True)
    idle = one.flow.sight(one.loop.now)
    assert (idle.first_in_line, idle.has_idle_worker, idle.unread, idle.first_result) == (None, True, frozenset(), None)
    assert (idle.hub_is_up, idle.link_may_send, idle.overdue) == (True, True, "its task has ended")
    one.flow.take(tasks("a", "b"))
    [worker] = one.workers
    busy = one.flow.sight(one.loop.now)
    assert busy.first_in_line is not None
    assert not busy.has_idle_worker
    worker.answer("a")
    assert one.flow.sight(one.loop.now).unread == {(worker.id, 0)}
    one.flow.collect()
    answered = one.flow.sight(one.loop.now)
    assert answered.first_in_line is None
    assert answered.first_result is not None
    assert answered.sent == idle.sent


def test_a_task_that_is_tried_over_and_over_is_seen_to_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Rig(monkeypatch, workers=1)
    one.stats = LinkStats()
    one.workers[0].has_room = False
    one.flow.take(tasks("a"))
    before = one.flow.sight(one.loop.now)
    one.loop.step(0.5)
    after = one.flow.sight(one.loop.now)
    assert before.first_in_line == after.first_in_line is not None
    assert after.tried_at > before.tried_at
