"""A worker is judged by what it does at that very moment: nobody innocent is killed, nothing is begun twice, a result
that is there counts; and what is raised at one task or worker keeps none of the others from its verdict."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flow_support import FakeWorker, Rig, tasks

from arbd.core.dispatch import Assignment
from arbd.core.lifecycle import State
from arbd.host import parcels
from arbd.ipc import frame, layout
from arbd.ipc.cell import Running
from arbd.ipc.ring import RingCorruptError
from arbd.supervisor import halt
from arbd.supervisor.watch import Watch

TAKEN_BACK = -1  # the mark of a fake cell


class Boom(Exception):
    """Something nobody expects."""


def raises(*_: Any) -> Any:
    raise Boom


class Judged(Rig):
    """One worker that has the tasks a, b and c, which are short, and runs the first; another that is idle."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch, workers=2)
        self.learn_that_tasks_are_short()
        self.flow.take(tasks("a", "b", "c"))
        [self.worker] = [each for each in self.workers if each.has]
        [self.other] = [each for each in self.workers if not each.has]
        self.first = self.worker.begin("a")
        self.told.clear()

    def kill(self, assignment: Assignment | None = None, *, unheard: bool = False) -> bool:
        worker: Any = self.worker
        return halt.kill(self.flow, worker, assignment or self.first, unheard=unheard)

    def take_back(self) -> None:
        worker: Any = self.worker
        halt.take_back(self.flow, worker)

    def in_that_moment(self, *happens: Callable[[], object]) -> None:
        """Between the mark and the look at the page."""

        def once() -> None:
            self.pool.on_fence.clear()
            for each in happens:
                each()

        self.pool.on_fence.append(once)

    def answers_without_a_body(self) -> None:
        """The worker has answered the first task by reference, and there is no descriptor for the body."""
        self.worker.has.remove(self.first)
        self.worker.cell.records = [frame.encode_result_reference(self.first.seq, 1000, "success")]
        self.worker.bodies = [parcels.NotNow(24, "none")]

    @property
    def outstanding(self) -> list[str]:
        """What the worker is believed to have."""
        return [each.task.id for each in self.flow.dispatcher.outstanding(self.worker.id).values()]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Judged:
    return Judged(monkeypatch)


# -- kill ------------------------------------------------------------------------------------------------------------


def test_a_worker_that_still_runs_the_task_is_killed_and_the_task_told(judged: Judged) -> None:
    assert judged.kill()
    assert judged.pool.killed == [judged.worker.id]
    assert judged.worker.cell.marks == [layout.STOP]
    assert judged.pool.fences > 0
    given = judged.results()
    assert set(given) == {"a"}
    assert "TIMEOUT" in given["a"]
    assert judged.outstanding == ["b", "c"]  # settled when it is gone


def test_a_worker_that_finishes_in_the_very_moment_is_not_killed(judged: Judged) -> None:
    judged.in_that_moment(lambda: judged.worker.answer("a"))
    assert judged.kill()
    assert judged.pool.killed == []
    assert judged.worker.cell.marks == [layout.STOP, 0]
    assert judged.results() == {"a": '{"n":1}'}


def test_nor_is_one_that_has_just_begun_the_next_task(judged: Judged) -> None:
    judged.in_that_moment(lambda: judged.worker.answer("a"), lambda: judged.worker.begin("b"))
    assert judged.kill()
    assert judged.pool.killed == []
    assert judged.outstanding == ["b", "c"]


def test_one_that_has_announced_the_next_task_but_not_yet_answered_this_one_is_not_killed(judged: Judged) -> None:
    """Its answer is in the ring before the announcement; here it never comes, and that is no reason to kill for it."""
    judged.in_that_moment(lambda: judged.worker.begin("b"))
    assert judged.kill()
    assert judged.pool.killed == []


def test_one_that_is_to_leave_still_leaves_afterwards(judged: Judged) -> None:
    judged.worker.state = State.RETIRING
    judged.in_that_moment(lambda: judged.worker.answer("a"))
    assert judged.kill()
    assert judged.worker.cell.marks == [layout.STOP, layout.LEAVE]


def test_one_whose_ring_cannot_be_read_is_killed_for_that_and_its_end_settles_the_rest(judged: Judged) -> None:
    judged.worker.cell.fails = RingCorruptError("impossible")
    assert judged.kill()
    assert judged.pool.given_up == ["result_ring_unreadable"]
    assert judged.worker.cell.marks == [layout.STOP]
    assert judged.results() == {}
    assert judged.outstanding == ["a", "b", "c"]


def test_one_whose_answer_cannot_be_taken_yet_is_asked_again(judged: Judged) -> None:
    judged.answers_without_a_body()
    assert not judged.kill()
    assert judged.pool.killed == []
    assert judged.worker.cell.marks == [layout.STOP, 0]
    judged.worker.bodies = [b"large"]
    assert judged.kill()
    assert judged.pool.killed == []
    assert judged.results() == {"a": "large"}


def test_one_that_was_not_heard_of_is_killed_whatever_its_page_says(judged: Judged) -> None:
    judged.worker.cell.runs = Running(judged.first.seq, 0)
    assert judged.kill()
    assert judged.pool.killed == []
    assert judged.kill(unheard=True)
    assert judged.pool.killed == [judged.worker.id]
    assert "TIMEOUT" in judged.results()["a"]


def test_but_not_one_that_has_answered(judged: Judged) -> None:
    judged.in_that_moment(lambda: judged.worker.answer("a"))
    assert judged.kill(unheard=True)
    assert judged.pool.killed == []


def test_a_task_that_was_cancelled_is_told_that(judged: Judged) -> None:
    judged.first.cancelled_at_ns = 1
    assert judged.kill()
    assert "CANCELLED" in judged.results()["a"]


def test_what_is_raised_at_an_answer_leaves_a_worker_that_goes_on(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged.flow.outbox, "append", raises)
    judged.in_that_moment(lambda: judged.worker.answer("a"))
    with pytest.raises(Boom):
        judged.kill()
    assert judged.worker.cell.marks == [layout.STOP, 0]
    assert judged.pool.killed == []
    assert len(judged.flow.verdicts) == 1


def test_nor_does_it_let_one_go_on_that_was_given_up_meanwhile(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged.flow.outbox, "append", raises)
    judged.worker.answer("a")
    judged.worker.cell.records.append(b"no record")
    with pytest.raises(Boom):
        judged.kill()
    assert judged.worker.cell.marks == [layout.STOP]
    assert judged.pool.killed == [judged.worker.id]


def test_a_link_that_raises_when_it_is_told_of_the_verdict_costs_it_not(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged.flow.link, "results_ready", raises)
    with pytest.raises(Boom):
        judged.kill()
    assert judged.pool.killed == [judged.worker.id]
    assert set(judged.results()) == {"a"}


# -- take back -------------------------------------------------------------------------------------------------------


def test_all_but_the_task_that_runs_go_back_in_line_in_their_order(judged: Judged) -> None:
    judged.other.has_room = False
    judged.flow.take([*tasks("later", action="act")])
    judged.take_back()
    assert judged.worker.cell.marks == [TAKEN_BACK]
    assert judged.pool.fences > 0
    assert judged.outstanding == ["a"]
    assert [each.task.id for each in judged.flow.dispatcher.drop_backlog()] == ["b", "c", "later"]


def test_what_the_worker_has_announced_last_stays_with_it(judged: Judged) -> None:
    judged.in_that_moment(lambda: judged.worker.answer("a"), lambda: judged.worker.begin("b"))
    judged.take_back()
    assert judged.outstanding == ["b"]
    assert judged.results() == {"a": '{"n":1}'}
    assert judged.flow.dispatcher.backlog == 1


def test_a_worker_that_has_begun_nothing_gives_all_back_and_is_idle(judged: Judged) -> None:
    judged.worker.cell.runs = Running(0, 0)
    judged.take_back()
    assert judged.outstanding == []
    assert judged.flow.dispatcher.backlog == 3
    judged.flow.pump()
    assert judged.flow.dispatcher.backlog == 0


def test_tasks_that_go_back_have_new_numbers(judged: Judged) -> None:
    """The worker will say of the old ones that it has skipped them: that must not concern those sent anew."""
    old = [each.seq for each in judged.worker.has]
    judged.take_back()
    judged.flow.pump()
    judged.worker.cell.records = [frame.encode_skipped(seq) for seq in old[1:]]
    judged.flow.collect()
    assert [each.task.id for each in judged.other.has] == ["b"]
    assert judged.flow.dispatcher.backlog == 1
    assert judged.flow.dispatcher.in_flight() == 3


def test_those_of_them_that_were_cancelled_are_told(judged: Judged) -> None:
    judged.worker.has[1].cancelled_at_ns = judged.worker.has[2].cancelled_at_ns = 1
    judged.take_back()
    given = judged.results()
    assert set(given) == {"b", "c"}
    assert all("CANCELLED" in verdict for verdict in given.values())
    assert judged.flow.dispatcher.in_flight() == 1


def test_what_is_raised_at_one_of_these_keeps_no_other_from_its_verdict(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged.worker.has[1].cancelled_at_ns = judged.worker.has[2].cancelled_at_ns = 1
    monkeypatch.setattr(judged.flow.link, "results_ready", raises)
    judged.take_back()
    assert [type(error) for error in judged.loop.reported] == [Boom, Boom]
    assert set(judged.results()) == {"b", "c"}


def test_nothing_is_taken_back_from_a_worker_whose_ring_cannot_be_read(judged: Judged) -> None:
    judged.worker.cell.fails = RingCorruptError("impossible")
    judged.take_back()
    assert judged.outstanding == ["a", "b", "c"]
    assert judged.pool.killed == [judged.worker.id]


def test_what_is_raised_at_an_answer_leaves_tasks_with_the_worker_which_tells_what_it_skips(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged.worker.answer("a")
    with monkeypatch.context() as patch:
        patch.setattr(judged.flow.outbox, "append", raises)
        with pytest.raises(Boom):
            judged.take_back()
    assert judged.outstanding == ["b", "c"]
    judged.worker.cell.records = [frame.encode_skipped(each.seq) for each in judged.worker.has]
    judged.worker.has.clear()
    judged.flow.collect()
    assert sorted(judged.sent) == ["b", "c"]


# -- cancel ----------------------------------------------------------------------------------------------------------


class Cancelling(Judged):
    """The same with a watch over it; the first task has just begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        Watch(self.flow, 0.25)
        self.worker.begin("a", self.now_ns)

    @property
    def now_ns(self) -> int:
        return round(self.loop.now * 1e9)


@pytest.fixture
def cancelling(monkeypatch: pytest.MonkeyPatch) -> Cancelling:
    return Cancelling(monkeypatch)


def test_a_task_that_waits_is_told_at_once(cancelling: Cancelling) -> None:
    cancelling.take_back()
    cancelling.flow.cancel(["b", "c"])
    given = cancelling.results()
    assert set(given) == {"b", "c"}
    assert all("CANCELLED" in verdict for verdict in given.values())
    assert cancelling.worker.cell.cancelled == []
    assert cancelling.loop.later == []


def test_what_is_raised_at_one_that_waits_keeps_no_other_from_its_verdict(
    cancelling: Cancelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelling.take_back()
    monkeypatch.setattr(cancelling.flow, "_encode", raises)
    cancelling.flow.cancel(["a", "b", "c"])
    assert len(cancelling.loop.reported) == 2
    assert set(cancelling.results()) == {"b", "c"}
    assert cancelling.worker.signals == 1  # and so is the one that runs


def test_one_in_the_ring_is_named_to_its_worker_which_says_so_itself(cancelling: Cancelling) -> None:
    [second] = [each for each in cancelling.worker.has if each.task.id == "b"]
    cancelling.flow.cancel(["b"])
    assert cancelling.worker.cell.cancelled == [second.seq]
    assert cancelling.worker.signals == 1
    assert cancelling.results() == {}
    cancelling.loop.step(0.3)  # it has not begun: its worker is not killed for it
    assert cancelling.pool.killed == []


def test_one_that_runs_on_after_the_grace_costs_its_worker(cancelling: Cancelling) -> None:
    cancelling.flow.cancel(["a"])
    cancelling.loop.step(0.24)
    assert cancelling.pool.killed == []
    cancelling.loop.step(0.02)
    assert cancelling.pool.killed == [cancelling.worker.id]
    assert "CANCELLED" in cancelling.results()["a"]


def test_one_that_is_cancelled_again_and_again_has_one_grace(cancelling: Cancelling) -> None:
    for _ in range(10):
        cancelling.flow.cancel(["a"])
        cancelling.loop.step(0.05)
    assert cancelling.pool.killed == [cancelling.worker.id]
    assert "CANCELLED" in cancelling.results()["a"]


def test_one_that_ends_within_the_grace_does_not(cancelling: Cancelling) -> None:
    cancelling.flow.cancel(["a"])
    cancelling.worker.answer("a")
    cancelling.worker.begin("b", cancelling.now_ns)
    cancelling.loop.step(1.0)
    assert cancelling.pool.killed == []
    assert cancelling.results() == {"a": '{"n":1}'}


def test_one_with_its_outcome_keeps_it_and_an_id_that_is_not_known_is_ignored(cancelling: Cancelling) -> None:
    cancelling.worker.answer("a")
    cancelling.flow.collect()
    cancelling.flow.cancel(["a", "never heard of"])
    assert cancelling.results() == {"a": '{"n":1}'}
    assert cancelling.worker.signals == 0


def test_the_end_of_the_grace_is_put_off_while_the_answer_cannot_be_taken(cancelling: Cancelling) -> None:
    cancelling.flow.cancel(["a"])
    cancelling.answers_without_a_body()
    cancelling.loop.step(0.26)
    assert halt.RETRY_S in [handle.delay_s for handle in cancelling.loop.later]
    cancelling.worker.bodies = [b"large"]
    cancelling.loop.step(1.0)
    assert cancelling.pool.killed == []
    assert cancelling.results() == {"a": "large"}


def test_a_grace_whose_end_fails_has_another(cancelling: Cancelling, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelling.flow.cancel(["a"])
    cancelling.loop.step(0.24)
    with monkeypatch.context() as patch:
        patch.setattr(cancelling.flow, "collect_from", raises)
        with pytest.raises(Boom):
            cancelling.loop.step(0.02)
    cancelling.loop.step(1.1 * halt.RETRY_S)
    assert cancelling.pool.killed == [cancelling.worker.id]
    assert "CANCELLED" in cancelling.results()["a"]


@pytest.mark.parametrize("how", ["condemned", "gone"])
def test_a_worker_that_is_killed_or_gone_before_that_is_left_alone(cancelling: Cancelling, how: str) -> None:
    cancelling.flow.cancel(["a"])
    if how == "condemned":
        cancelling.worker.state = State.CONDEMNED
    else:
        cancelling.flow.dispatcher.remove_worker(cancelling.worker.id, 0)
    cancelling.loop.step(1.0)
    assert cancelling.pool.killed == []
    assert cancelling.results() == {}


def test_a_signal_that_cannot_be_sent_leaves_the_kill_after_the_grace(
    cancelling: Cancelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling.worker, "signal_cancel", raises)
    with pytest.raises(Boom):
        cancelling.flow.cancel(["a"])
    cancelling.loop.step(0.26)
    assert "CANCELLED" in cancelling.results()["a"]


# -- abort -----------------------------------------------------------------------------------------------------------


class Aborted(Rig):
    """Two workers that run a and b, which take long; c waits; a third worker is idle."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch, workers=3)
        idle = self.workers.pop()
        self.flow.dispatcher.close_worker(idle.id)
        self.flow.take(tasks("a", "b", "c"))
        [self.one] = [each for each in self.workers if each.has[0].task.id == "a"]
        [self.two] = [each for each in self.workers if each.has[0].task.id == "b"]
        self.one.begin("a")
        self.two.begin("b")

    def abort(self) -> None:
        halt.abort(self.flow)


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Aborted:
    return Aborted(monkeypatch)


def test_who_has_tasks_is_killed_and_each_task_is_told(ending: Aborted) -> None:
    ending.abort()
    assert set(ending.pool.killed) == {ending.one.id, ending.two.id}
    assert ending.one.waited
    assert {task_id: "ABORTED" in text for task_id, text in ending.results().items()} == dict.fromkeys("abc", True)
    assert ending.told[-1] == "results"


def test_all_are_told_to_begin_nothing_before_the_first_is_looked_at(ending: Aborted) -> None:
    ending.pool.on_fence.append(lambda: marked.append((bool(ending.one.cell.marks), bool(ending.two.cell.marks))))
    marked: list[tuple[bool, bool]] = []
    ending.abort()
    assert marked[0] == (True, True)


def test_a_result_that_was_published_before_the_kill_is_one(ending: Aborted) -> None:
    ending.one.answer("a")
    ending.abort()
    assert ending.results()["a"] == '{"n":1}'
    assert ending.pool.killed == [ending.two.id]


def test_and_one_that_is_published_while_it_is_killed(ending: Aborted, monkeypatch: pytest.MonkeyPatch) -> None:
    kill = ending.pool.kill

    def answers_first(worker: FakeWorker) -> None:
        worker.answer()
        kill(worker)

    monkeypatch.setattr(ending.pool, "kill", answers_first)
    ending.abort()
    given = ending.results()
    assert given["a"] == given["b"] == '{"n":1}'
    assert "ABORTED" in given["c"]


def test_what_a_dying_worker_had_is_told_as_well(ending: Aborted) -> None:
    ending.flow.dispatcher.close_worker(ending.one.id)
    ending.one.state = State.CONDEMNED
    ending.abort()
    assert ending.pool.killed == [ending.two.id]
    assert set(ending.results()) == {"a", "b", "c"}


@pytest.mark.parametrize("what", ["collect_from", "kill", "wait_gone", "encode", "append", "ring"])
def test_a_step_that_raises_keeps_none_of_the_others_from_its_verdict(
    ending: Aborted, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "ring":
        ending.one.cell.fails = RingCorruptError("impossible")
    else:
        owner: Any = {"kill": ending.pool, "wait_gone": ending.one, "append": ending.flow.outbox}.get(what, ending.flow)
        name = "_encode" if what == "encode" else what
        real, left = getattr(owner, name), iter([Boom()])

        def first_raises(*args: Any) -> Any:
            for error in left:
                raise error
            return real(*args)

        monkeypatch.setattr(owner, name, first_raises)
    ending.abort()
    assert [type(error) for error in ending.loop.reported] == ([] if what == "ring" else [Boom])
    assert ending.flow.verdicts.save_kept()
    assert {task_id: "ABORTED" in text for task_id, text in ending.results().items()} == dict.fromkeys("abc", True)


def test_a_link_that_raises_in_the_end_costs_no_verdict(ending: Aborted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending.flow.link, "results_ready", raises)
    with pytest.raises(Boom):
        ending.abort()
    assert set(ending.results()) == {"a", "b", "c"}


# -- kill_idle -------------------------------------------------------------------------------------------------------


class Hanging(Judged):
    """One worker that has the tasks a, b and c and has begun none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.worker.cell.runs = Running(0, 0)

    def kill_idle(self) -> bool:
        worker: Any = self.worker
        return halt.kill_idle(self.flow, worker)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Hanging:
    return Hanging(monkeypatch)


def test_a_worker_that_has_begun_nothing_is_killed_and_its_tasks_run_elsewhere(hanging: Hanging) -> None:
    assert hanging.kill_idle()
    assert hanging.pool.killed == [hanging.worker.id]
    assert hanging.worker.cell.marks == [layout.STOP]
    assert hanging.results() == {}
    worker: Any = hanging.worker
    hanging.flow.settle(worker, -9)
    assert [each.task.id for each in hanging.other.has] == ["a", "b", "c"]


def test_one_that_begins_in_the_very_moment_is_not(hanging: Hanging) -> None:
    hanging.in_that_moment(lambda: hanging.worker.begin("a"))
    assert not hanging.kill_idle()
    assert hanging.pool.killed == []
    assert hanging.worker.cell.marks == [layout.STOP, 0]


def test_nor_one_whose_answer_waits_for_room(hanging: Hanging) -> None:
    """It has run that task, which must not run again."""
    hanging.worker.begin("a", 0)
    assert not hanging.kill_idle()
    assert hanging.pool.killed == []


def test_nor_one_that_answers_all_it_has_in_that_moment(hanging: Hanging) -> None:
    hanging.in_that_moment(*[partial(hanging.worker.answer, each) for each in "abc"])
    assert not hanging.kill_idle()
    assert hanging.pool.killed == []
    assert set(hanging.results()) == {"a", "b", "c"}


def test_nor_one_whose_answer_cannot_be_taken_yet(hanging: Hanging) -> None:
    hanging.answers_without_a_body()
    assert not hanging.kill_idle()
    assert hanging.worker.cell.marks == [layout.STOP, 0]


def test_one_that_hangs_with_a_ring_nobody_can_read_is_killed_for_that(hanging: Hanging) -> None:
    hanging.worker.cell.fails = RingCorruptError("impossible")
    assert hanging.kill_idle()
    assert hanging.pool.given_up == ["result_ring_unreadable"]


def test_what_is_raised_at_its_answers_takes_the_mark_away(hanging: Hanging) -> None:
    hanging.worker.cell.fails = Boom()
    with pytest.raises(Boom):
        hanging.kill_idle()
    assert hanging.worker.cell.marks == [layout.STOP, 0]
