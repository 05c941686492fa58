"""A task past its hard deadline is killed at that moment: never earlier, never later, whatever else goes on."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from typing import Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples

from arbd.core.deadlines import SLACK_NS, Busy, Deadlines, Look
from arbd.core.dispatch import Assignment
from arbd.ipc.cell import Running
from arbd.model.task import Task

MS = 1_000_000
GRACE_S = 0.25
GRACE = 250 * MS
T0 = 1_000_000 * MS  # a moment of the monotonic clock, which is never 0 while a worker runs


def deadlines(shortest_s: float = 1.0) -> Deadlines:
    made = Deadlines(GRACE_S)
    made.set_shortest(shortest_s)
    return made


def assignment(seq: int, timeout_s: float = 1.0) -> Assignment:
    return Assignment(seq, Task(str(seq), "act"), timeout_s)


def busy(slot: int, running: Running, assignments: Iterable[Assignment]) -> Busy:
    return Busy(slot, running, {each.seq: each for each in assignments})


# One look --------------------------------------------------------------------------------------------------------


def test_an_idle_daemon_does_not_look() -> None:
    assert deadlines().look(5 * MS, []) == Look([], None)


def test_after_a_dispatch_nothing_can_be_late_before_the_shortest_timeout() -> None:
    assert deadlines(0.5).first_look_at(10 * MS) == 10 * MS + 500 * MS + GRACE


def test_the_hard_deadline_is_timeout_plus_grace_after_the_start() -> None:
    assert deadlines().hard_deadline(assignment(1, 2.5), 7 * MS) == 7 * MS + 2500 * MS + GRACE


def test_a_kill_is_due_at_the_deadline_and_not_a_nanosecond_before() -> None:
    late = assignment(1)
    worker = busy(3, Running(1, T0), [late])
    at = T0 + 1000 * MS + GRACE
    assert deadlines().look(at - 1, [worker]) == Look([], at)
    assert deadlines().look(at, [worker]).overdue == [(3, late)]


def test_only_what_runs_is_overdue() -> None:
    running, waiting = assignment(1), assignment(2, 0.001)
    look = deadlines(0.001).look(T0 + 10_000 * MS, [busy(0, Running(1, T0), [running, waiting])])
    assert look.overdue == [(0, running)]


def test_a_number_that_was_answered_meanwhile_is_not_running() -> None:
    """The page still names task 1; its result has been taken, and task 2 has not begun."""
    look = deadlines().look(T0 + 9000 * MS, [busy(0, Running(1, T0), [assignment(2)])])
    assert look == Look([], T0 + 9000 * MS + 1000 * MS + GRACE)


def test_a_task_that_is_finished_and_waits_for_room_is_not_running() -> None:
    look = deadlines().look(T0 + 9000 * MS, [busy(0, Running(1, 0), [assignment(1)])])
    assert look == Look([], T0 + 9000 * MS + 1000 * MS + GRACE)


def test_the_next_look_is_at_the_earliest_hard_deadline() -> None:
    workers = [busy(0, Running(1, T0), [assignment(1, 1.5)]), busy(1, Running(2, T0 + 100 * MS), [assignment(2, 1.2)])]
    assert deadlines(1.2).look(T0 + 200 * MS, workers) == Look([], T0 + 100 * MS + 1200 * MS + GRACE)


def test_a_long_task_does_not_put_off_the_look_at_what_may_be_dispatched_meanwhile() -> None:
    look = deadlines(0.1).look(T0, [busy(0, Running(1, T0), [assignment(1, 3600)])])
    assert look == Look([], T0 + 100 * MS + GRACE)


def test_a_waiting_task_keeps_the_timeout_it_was_offered_with() -> None:
    """After a reload the shortest timeout may be longer than that of a task of before."""
    look = deadlines(10).look(T0, [busy(0, Running(1, T0), [assignment(1, 60), assignment(2, 0.1)])])
    assert look == Look([], T0 + 100 * MS + GRACE)


def test_there_is_a_next_look_after_a_kill() -> None:
    """The killed worker's neighbours are still there, and so is what it leaves behind."""
    look = deadlines().look(T0 + 5000 * MS, [busy(0, Running(1, T0), [assignment(1)])])
    assert look.next_at_ns == T0 + 5000 * MS + 1000 * MS + GRACE


# A whole daemon, simulated ---------------------------------------------------------------------------------------


class Job(NamedTuple):
    """A task: when and where it is sent, how long it would run, how long it may."""

    at: int
    worker: int
    run_ms: int
    timeout_ms: int


class End(NamedTuple):
    how: Literal["finished", "killed"]
    began_at: int
    ended_at: int


class SimulatedWorker:
    """Runs what is sent to it, one after the other. As in the real one, the number stays after the answer."""

    def __init__(self) -> None:
        self.waiting: deque[int] = deque()
        self.running = Running(0, 0)
        self.outstanding: dict[int, Assignment] = {}
        self.life = 0  # counts the processes in this slot: what one had planned, the next does not do

    @property
    def is_running(self) -> bool:
        return self.running.seq in self.outstanding


class Simulation:
    """Workers, one timer and a clock that jumps from event to event.

    ``look_first``: at equal times, the supervisor looks before the workers act. Both orders must do.
    """

    def __init__(self, jobs: list[Job], look_first: bool) -> None:
        self.jobs = jobs
        self.ends: dict[int, End] = {}
        self.looks = 0
        self._look_rank = -1 if look_first else 9
        self._deadlines = deadlines(min(job.timeout_ms for job in jobs) / 1000)
        self._workers = [SimulatedWorker() for _ in range(3)]
        self._timer: int | None = None
        self._events: list[tuple[int, int, str, int, int]] = []
        for seq, job in enumerate(jobs, 1):
            heapq.heappush(self._events, (T0 + job.at * MS, 1, "send", job.worker, seq))

    def run(self) -> None:
        while self._events:
            now, _, what, where, seq = heapq.heappop(self._events)
            if what == "send":
                self._send(now, where, seq)
            elif what == "finish":
                self._finish(now, where, seq)
            elif self._timer == now:
                self._look(now)

    def _send(self, now: int, where: int, seq: int) -> None:
        worker = self._workers[where]
        worker.outstanding[seq] = assignment(seq, self.jobs[seq - 1].timeout_ms / 1000)
        worker.waiting.append(seq)
        if self._timer is None:
            self._arm(self._deadlines.first_look_at(now))
        self._begin_next(now, where)

    def _begin_next(self, now: int, where: int) -> None:
        worker = self._workers[where]
        if worker.waiting and not worker.is_running:
            seq = worker.waiting.popleft()
            worker.running = Running(seq, now)
            heapq.heappush(self._events, (now + self.jobs[seq - 1].run_ms * MS, 0, "finish", where, seq))

    def _finish(self, now: int, where: int, seq: int) -> None:
        worker = self._workers[where]
        if seq in self.ends or seq not in worker.outstanding:
            return  # it was killed
        del worker.outstanding[seq]
        self.ends[seq] = End("finished", worker.running.since_ns, now)
        self._begin_next(now, where)

    def _arm(self, at: int) -> None:
        self._timer = at
        heapq.heappush(self._events, (at, self._look_rank, "look", -1, -1))

    def _look(self, now: int) -> None:
        self.looks += 1
        self._timer = None
        busy = [Busy(slot, w.running, w.outstanding) for slot, w in enumerate(self._workers) if w.outstanding]
        look = self._deadlines.look(now, busy)
        for slot, late in look.overdue:
            worker = self._workers[slot]
            self.ends[late.seq] = End("killed", worker.running.since_ns, now)
            del worker.outstanding[late.seq]
        if look.next_at_ns is not None:
            assert look.next_at_ns > now, "it would look for ever at one moment"
            self._arm(look.next_at_ns)
        for slot, _ in look.overdue:
            self._begin_next(now, slot)


job = st.builds(
    Job,
    at=st.integers(0, 3000),
    worker=st.integers(0, 2),
    run_ms=st.integers(0, 4000),
    timeout_ms=st.integers(1, 3000),
)


@given(jobs=st.lists(job, min_size=1, max_size=12), look_first=st.booleans())
@settings(max_examples=examples(400))
def test_every_task_ends_by_itself_or_is_killed_at_its_deadline(jobs: list[Job], look_first: bool) -> None:
    simulation = Simulation(jobs, look_first)
    simulation.run()
    assert simulation.ends.keys() == set(range(1, len(jobs) + 1))
    for seq, each in enumerate(jobs, 1):
        how, began_at, ended_at = simulation.ends[seq]
        took, allowed = each.run_ms * MS, each.timeout_ms * MS + GRACE
        if took != allowed:  # at the very moment both are right
            assert how == ("finished" if took < allowed else "killed")
        assert ended_at == began_at + min(took, allowed)


def test_a_long_task_costs_few_looks() -> None:
    simulation = Simulation([Job(0, 0, 60_000, 60_000)], look_first=False)
    simulation.run()
    assert simulation.looks == 1  # the one that was armed at the dispatch finds the worker idle again


# A page that cannot be believed ----------------------------------------------------------------------------------

STRAY = [0, 1 << 62, (1 << 64) - 1]
BOUND = 1000 * MS + GRACE + SLACK_NS


@pytest.mark.parametrize("since_ns", STRAY)
def test_a_task_whose_start_was_overwritten_is_ended_all_the_same(since_ns: int) -> None:
    judge, worker = deadlines(), busy(0, Running(1, since_ns), [assignment(1)])
    looks = [judge.look(T0, [worker]), judge.look(T0 + BOUND - 1, [worker]), judge.look(T0 + BOUND, [worker])]
    assert [[each.seq for _, each in look.unheard] for look in looks] == [[], [], [1]]
    assert looks[1].next_at_ns == T0 + BOUND


def test_the_bound_counts_from_when_a_task_was_first_seen_as_the_first() -> None:
    """Each of them may take its timeout, one after the other."""
    judge = deadlines()
    has = [assignment(seq) for seq in range(1, 6)]
    for turn, first in enumerate(has):
        look = judge.look(T0 + turn * (BOUND - 1), [busy(0, Running(99, 0), has[turn:])])
        assert look.unheard == (), first


def test_an_idle_worker_begins_anew() -> None:
    judge = deadlines()
    judge.look(T0, [busy(0, Running(1, 0), [assignment(1)])])
    judge.look(T0 + BOUND, [])
    assert judge.look(T0 + 2 * BOUND, [busy(0, Running(1, 0), [assignment(1)])]).unheard == ()
