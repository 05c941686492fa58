"""Every task offered comes back exactly once, the right number of them waits, the higher priority first, and
``free_slots`` is always exact."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from thoroughness import examples

from arbd.core.dispatch import COVER_NS, RESERVE_NS, RING_NS, WAKE_NS, Assignment, Dispatcher
from arbd.errors import InvariantError
from arbd.model.task import Task

US = 1_000
MS = 1_000_000
SECOND = 1_000 * MS

#: What actions take, on both sides of every bound.
runs = st.one_of(
    st.sampled_from([0, 1, 50 * US, COVER_NS, 5 * MS, RING_NS, RING_NS + 1, 20 * MS, RESERVE_NS, RESERVE_NS + 1]),
    st.integers(0, 2 * SECOND),
)


def task(action: str = "act", priority: int = 0) -> Task:
    return Task("id", action, priority=priority)


# Any interleaving ------------------------------------------------------------------------------------------------


class AnyInterleaving(RuleBasedStateMachine):
    """Whatever comes and goes: the model holds each task at one place, and the dispatcher must agree."""

    def __init__(self) -> None:
        super().__init__()
        self.dispatcher = Dispatcher(prefetch=8)
        self.backlog: list[Assignment] = []
        self.sent: dict[int, list[Assignment]] = {}
        self.open: set[int] = set()
        self.settled: list[int] = []
        self.offered: list[int] = []
        self.renumbered: list[int] = []
        self.workers = 0

    # -- workers

    @rule()
    def add_worker(self) -> None:
        self.workers += 1
        self.dispatcher.add_worker(self.workers)
        self.sent[self.workers] = []
        self.open.add(self.workers)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def add_a_worker_again(self, data: st.DataObject) -> None:
        worker_id = self.any_worker(data)
        with pytest.raises(InvariantError, match=f"worker {worker_id} is there already"):
            self.dispatcher.add_worker(worker_id)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def close_worker(self, data: st.DataObject) -> None:
        worker_id = self.any_worker(data)
        self.dispatcher.close_worker(worker_id)
        self.open.discard(worker_id)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), began=st.booleans())
    def remove_worker(self, data: st.DataObject, began: bool) -> None:
        worker_id = self.any_worker(data)
        waiting = self.sent.pop(worker_id)
        self.open.discard(worker_id)
        running = waiting.pop(0) if began and waiting else None
        loss = self.dispatcher.remove_worker(worker_id, running.seq if running else 0)
        assert (loss.running, loss.returned) == (running, len(waiting))
        self.settled += [running.seq] if running else []
        for assignment in reversed(waiting):
            self.wait_first(assignment)

    # -- tasks

    @rule(action=st.sampled_from("abcd"), priority=st.sampled_from([0, 0, 0, 1, -3]))
    def offer(self, action: str, priority: int) -> None:
        assignment = self.dispatcher.offer(task(action, priority), 1.5)
        assert (assignment.task.action, assignment.timeout) == (action, 1.5)
        self.offered.append(assignment.seq)
        self.backlog.append(assignment)
        self.backlog.sort(key=lambda each: -each.task.priority)  # stable: equals keep their order

    def wait_first(self, assignment: Assignment) -> None:
        """Before its equals."""
        self.backlog.insert(0, assignment)
        self.backlog.sort(key=lambda each: -each.task.priority)

    def wait_again(self, seq: int, assignment: Assignment) -> None:
        """The same with a new number."""
        assert assignment.seq not in self.offered
        self.renumbered.append(seq)
        self.offered.append(assignment.seq)
        self.offered.sort()
        self.wait_first(assignment)

    @rule(data=st.data())
    def next_assignment(self, data: st.DataObject) -> None:
        rooms, before = self.rooms(), self.maybe_a_worker(data)
        chosen = self.dispatcher.next_assignment(before)
        if chosen is None:
            assert not self.backlog or not any(rooms.values())
            return
        worker_id, assignment = chosen
        assert assignment is self.backlog.pop(0)
        self.was_sent(worker_id, assignment, rooms, before)

    @rule(data=st.data(), action=st.sampled_from("abcd"))
    def place(self, data: st.DataObject, action: str) -> None:
        """It goes to a worker at once, unless it has to wait like others."""
        rooms, before = self.rooms(), self.maybe_a_worker(data)
        new = task(action)
        placed = self.dispatcher.place(new, 1.5, before)
        if placed is None:
            assert self.backlog or not any(rooms.values())
            waiting = next(each for each in self.dispatcher._backlog if each.task is new)
            self.offered.append(waiting.seq)
            self.backlog.append(waiting)
            self.backlog.sort(key=lambda each: -each.task.priority)
            return
        worker_id, assignment = placed
        assert not self.backlog, "it has overtaken others"
        assert (assignment.task, assignment.timeout) == (new, 1.5)
        self.offered.append(assignment.seq)
        self.was_sent(worker_id, assignment, rooms, before)

    def maybe_a_worker(self, data: st.DataObject) -> int | None:
        return data.draw(st.none() | st.integers(1, self.workers + 1))

    def rooms(self) -> dict[int, int]:
        self.dispatcher.free_slots()  # counts what has changed
        return {worker_id: self.dispatcher._workers[worker_id].room for worker_id in self.open}

    def was_sent(self, worker_id: int, assignment: Assignment, rooms: dict[int, int], before: int | None) -> None:
        assert rooms[worker_id] > 0
        already = self.sent[worker_id]
        if already:
            is_idle_left = not all(self.sent[other] for other in self.open)
            work_ns = sum(each.cost_ns for each in (*already, assignment))
            assert not is_idle_left or (worker_id == before and work_ns <= WAKE_NS), "an idle worker was passed over"
            assert already[0].cost_ns <= RING_NS, "it waits behind a long task"
            assert sum(each.cost_ns for each in already[1:]) < COVER_NS
        already.append(assignment)

    @precondition(lambda self: any(self.sent.values()))
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        """Only the last one sent can find the ring full."""
        worker_id = self.any_busy_worker(data)
        assignment = self.sent[worker_id].pop()
        self.dispatcher.undo(worker_id, assignment)
        self.wait_first(assignment)

    @precondition(lambda self: any(self.sent.values()))
    @rule(data=st.data(), ran_ns=runs, runs_one=st.booleans())
    def take_back(self, data: st.DataObject, ran_ns: int, runs_one: bool) -> None:
        """All but the one it runs, which is the first of them, unless its result has been collected."""
        worker_id = self.any_busy_worker(data)
        running, waiting = (
            (self.sent[worker_id][:1], self.sent[worker_id][1:]) if runs_one else ([], self.sent[worker_id])
        )
        for assignment in waiting[1::2]:
            assignment.cancelled_at_ns = 1
        before = [assignment.seq for assignment in waiting]
        back = self.dispatcher.take_back(worker_id, running[0].seq if running else 0, ran_ns)
        assert back == [assignment for assignment in waiting if assignment.cancelled]
        self.settled += [assignment.seq for assignment in back]
        self.sent[worker_id] = running
        for seq, assignment in reversed(list(zip(before, waiting, strict=True))):
            if not assignment.cancelled:
                self.wait_again(seq, assignment)
        assert all(assignment.cost_ns >= ran_ns for assignment in running)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def return_skipped(self, data: st.DataObject) -> None:
        """It may be any task: one that this worker has, or one that was taken back from it and is elsewhere."""
        worker_id = self.any_worker(data)
        seq = data.draw(st.integers(1, len(self.offered) + 1))
        was = [each for each in self.sent[worker_id] if each.seq == seq]
        self.dispatcher.return_skipped(worker_id, seq)
        for assignment in [each for each in self.sent[worker_id] if each in was]:
            self.sent[worker_id].remove(assignment)
            self.wait_again(seq, assignment)

    @precondition(lambda self: any(self.sent.values()))
    @rule(data=st.data(), run_ns=st.none() | runs)
    def finish(self, data: st.DataObject, run_ns: int | None) -> None:
        worker_id = self.any_busy_worker(data)
        index = data.draw(st.integers(0, len(self.sent[worker_id]) - 1))
        assignment = self.sent[worker_id].pop(index)
        assert self.dispatcher.finish(worker_id, assignment.seq, run_ns) is assignment
        self.settled.append(assignment.seq)

    @precondition(lambda self: self.settled)
    @rule(data=st.data(), run_ns=runs)
    def finish_too_late(self, data: st.DataObject, run_ns: int) -> None:
        """Its verdict was given before; by whatever worker, gone or not, it changes nothing."""
        worker_id = data.draw(st.integers(1, self.workers + 1))
        free = self.dispatcher.free_slots()
        assert self.dispatcher.finish(worker_id, data.draw(st.sampled_from(self.settled)), run_ns) is None
        assert self.dispatcher.free_slots() == free

    @precondition(lambda self: len(self.sent) > 1)
    @rule(data=st.data())
    def finish_at_the_wrong_worker(self, data: st.DataObject) -> None:
        worker_id, other = data.draw(st.permutations(sorted(self.sent)))[:2]
        for assignment in self.sent[other]:
            assert self.dispatcher.finish(worker_id, assignment.seq, 0) is None

    @precondition(lambda self: self.backlog)
    @rule()
    def withdraw(self) -> None:
        """By id; here all have the same one, so all that wait go."""
        assert self.dispatcher.withdraw({"another"}) == []
        assert self.dispatcher.withdraw({"id"}) == self.backlog
        self.settled += [assignment.seq for assignment in self.backlog]
        self.backlog.clear()

    @rule()
    def drop_backlog(self) -> None:
        assert self.dispatcher.drop_backlog() == self.backlog
        self.settled += [assignment.seq for assignment in self.backlog]
        self.backlog.clear()

    def any_worker(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.sent)))

    def any_busy_worker(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(worker_id for worker_id, sent in self.sent.items() if sent)))

    # -- what always holds

    @invariant()
    def every_task_is_at_one_place(self) -> None:
        sent = [assignment.seq for each in self.sent.values() for assignment in each]
        waiting = [assignment.seq for assignment in self.backlog]
        assert sorted(waiting + sent + self.settled + self.renumbered) == self.offered
        assert self.offered == list(range(1, len(self.offered) + 1))

    @invariant()
    def the_dispatcher_agrees(self) -> None:
        dispatcher = self.dispatcher
        assert dispatcher.backlog == len(self.backlog)
        assert dispatcher.in_flight() == len(self.backlog) + sum(map(len, self.sent.values()))
        assert set(dispatcher.busy_workers()) == {worker_id for worker_id, sent in self.sent.items() if sent}
        assert [worker_id for worker_id in range(self.workers + 2) if dispatcher.has_worker(worker_id)] == list(
            self.sent
        )
        waiting_ns = [sum(each.cost_ns for each in sent[1:]) for sent in self.sent.values() if sent]
        idles = any(not self.sent[worker_id] for worker_id in self.open)
        assert dispatcher.have_work_for(min(waiting_ns, default=0)) is not idles
        assert not waiting_ns or not dispatcher.have_work_for(min(waiting_ns) + 1)
        for worker_id, sent in self.sent.items():
            assert list(dispatcher.outstanding(worker_id).items()) == [(each.seq, each) for each in sent]

    @invariant()
    def free_slots_is_what_counting_from_scratch_gives(self) -> None:
        dispatcher = self.dispatcher
        free = dispatcher.free_slots()  # follows the mean of what has run
        rooms = sum(dispatcher._room_of(dispatcher._workers[worker_id]) for worker_id in self.open)
        mean = dispatcher._counted_mean_ns
        reserve = -(-COVER_NS * len(self.open) // mean) if RING_NS < mean <= RESERVE_NS else 0
        assert free == max(0, rooms + reserve - len(self.backlog))

    def teardown(self) -> None:
        """One worker that stays can take everything that is left, one by one."""
        for worker_id in list(self.sent):
            self.dispatcher.remove_worker(worker_id, 0)
        self.dispatcher.add_worker(self.workers + 1)
        left = set(self.offered) - set(self.settled) - set(self.renumbered)
        while (chosen := self.dispatcher.next_assignment()) is not None:
            worker_id, assignment = chosen
            left.remove(assignment.seq)
            self.dispatcher.finish(worker_id, assignment.seq, 1)
        assert left == set()
        assert self.dispatcher.in_flight() == 0


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = settings(max_examples=examples(120), stateful_step_count=60)


# How many wait ---------------------------------------------------------------------------------------------------


def used_to(run_ns: int, workers: int = 1, prefetch: int = 64) -> Dispatcher:
    """A dispatcher of idle workers that has seen many runs of that length."""
    dispatcher = Dispatcher(prefetch)
    for worker_id in range(workers):
        dispatcher.add_worker(worker_id)
    for _ in range(200):
        dispatcher.offer(task(), 1.0)
        run_one(dispatcher, run_ns)
    return dispatcher


def run_one(dispatcher: Dispatcher, run_ns: int) -> None:
    chosen = dispatcher.next_assignment()
    assert chosen is not None
    assert dispatcher.finish(chosen[0], chosen[1].seq, run_ns) is chosen[1]


def fill(dispatcher: Dispatcher, count: int = 1000) -> dict[int, int]:
    """Offer that many tasks; how many each worker was sent."""
    sent: dict[int, int] = {}
    for _ in range(count):
        dispatcher.offer(task(), 1.0)
    while (chosen := dispatcher.next_assignment()) is not None:
        sent[chosen[0]] = sent.get(chosen[0], 0) + 1
    return sent


@pytest.mark.parametrize(
    ("run_ns", "in_ring", "free"),
    [
        (0, 65, 65),
        (50 * US, 65, 65),  # prefetch is the bound, not COVER_NS
        (MS, 5, 5),
        (5 * MS, 2, 2),
        (10 * MS, 2, 2),
        (20 * MS, 1, 2),  # one in reserve
        (60 * MS, 1, 2),
        (150 * MS, 1, 1),
        (2 * SECOND, 1, 1),
    ],
)
def test_what_waits_follows_from_how_long_the_action_takes(run_ns: int, in_ring: int, free: int) -> None:
    dispatcher = used_to(run_ns)
    assert dispatcher.free_slots() == free
    assert fill(dispatcher) == {0: in_ring}
    assert dispatcher.free_slots() == 0


@pytest.mark.parametrize("run_ns", [0, 50 * US, MS, 5 * MS, 20 * MS, 2 * SECOND])
@pytest.mark.parametrize("workers", [1, 2, 7])
def test_as_many_slots_are_free_as_can_be_taken(run_ns: int, workers: int) -> None:
    dispatcher = used_to(run_ns, workers)
    free = dispatcher.free_slots()
    in_reserve = free - sum(fill(dispatcher, free).values())
    assert (dispatcher.free_slots(), dispatcher.backlog) == (0, in_reserve)
    assert in_reserve == (2 if (run_ns, workers) == (20 * MS, 7) else int(run_ns == 20 * MS))


def test_slots_follow_the_mean_within_a_quarter() -> None:
    """They are recounted only when it has moved by that much, so that it costs nothing per task."""
    assert 1 + 4000 // 500 <= used_to(400 * US).free_slots() <= 1 + 4000 // 400


def test_an_action_never_seen_counts_as_long() -> None:
    dispatcher = Dispatcher()
    dispatcher.add_worker(1)
    assert dispatcher.free_slots() == 1
    assert fill(dispatcher, 3) == {1: 1}


def test_nothing_waits_behind_a_long_task_though_most_are_short() -> None:
    dispatcher = used_to(50 * US)
    dispatcher.offer(task("never seen"), 1.0)
    assert dispatcher.next_assignment() is not None
    assert dispatcher.free_slots() == 0
    assert fill(dispatcher, 5) == {}


def test_little_waits_behind_short_tasks_once_a_long_one_waits_there() -> None:
    dispatcher = used_to(50 * US)
    for action in ("act", "never seen", "act"):
        dispatcher.offer(task(action), 1.0)
    assert [dispatcher.next_assignment() is not None for _ in range(3)] == [True, True, False]


def test_one_slow_run_stops_tasks_from_piling_up_behind_the_next() -> None:
    dispatcher = used_to(50 * US)
    dispatcher.offer(task(), 1.0)
    run_one(dispatcher, SECOND)
    assert dispatcher.free_slots() == 1
    assert fill(dispatcher, 5) == {0: 1}


def test_an_estimate_rises_at_once_though_others_keep_the_mean_low() -> None:
    dispatcher = used_to(50 * US)
    dispatcher.offer(task(), 1.0)
    run_one(dispatcher, 30 * MS)
    for _ in range(200):
        dispatcher.offer(task("another"), 1.0)
        run_one(dispatcher, 50 * US)
    assert dispatcher.free_slots() == 65
    assert fill(dispatcher, 5) == {0: 1}


def test_nothing_is_learned_from_a_run_of_unknown_length() -> None:
    """As when a worker's ring is damaged: a run of 0 ns would let tasks pile up behind the next."""
    dispatcher = Dispatcher()
    dispatcher.add_worker(1)
    for _ in range(50):
        assignment = dispatcher.offer(task(), 1.0)
        assert dispatcher.next_assignment() == (1, assignment)
        assert dispatcher.finish(1, assignment.seq, None) is assignment
    assert dispatcher.free_slots() == 1
    assert fill(dispatcher, 3) == {1: 1}


def test_it_takes_many_fast_runs_to_forget_a_slow_one() -> None:
    dispatcher = used_to(50 * US)
    dispatcher.offer(task(), 1.0)
    run_one(dispatcher, SECOND)
    counts = []
    for _ in range(100):
        dispatcher.offer(task(), 1.0)
        run_one(dispatcher, 50 * US)
        counts.append(dispatcher.free_slots())
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, 65)


def test_idle_workers_come_first_and_the_warmest_of_them() -> None:
    dispatcher = used_to(50 * US, workers=3)
    dispatcher.offer(task(), 1.0)
    chosen = dispatcher.next_assignment()
    assert chosen is not None
    warm, first = chosen
    dispatcher.finish(warm, first.seq, 50 * US)
    for _ in range(3):
        dispatcher.offer(task(), 1.0)
    order = [chosen[0] for _ in range(3) if (chosen := dispatcher.next_assignment()) is not None]
    assert order[0] == warm
    assert sorted(order) == [0, 1, 2]


def test_busy_workers_take_turns() -> None:
    assert fill(used_to(5 * MS, workers=3), 6) == {0: 2, 1: 2, 2: 2}
    assert fill(used_to(50 * US, workers=2), 20) == {0: 10, 1: 10}


def test_without_prefetch_nothing_waits_in_a_ring() -> None:
    dispatcher = used_to(50 * US, workers=2, prefetch=0)
    assert dispatcher.free_slots() == 2
    assert fill(dispatcher) == {0: 1, 1: 1}


def test_without_workers_nothing_is_asked_for_or_sent() -> None:
    dispatcher = Dispatcher()
    dispatcher.offer(task(), 1.0)
    assert (dispatcher.free_slots(), dispatcher.next_assignment(), dispatcher.backlog) == (0, None, 1)


def test_a_closed_worker_finishes_what_it_has_and_gets_nothing_more() -> None:
    dispatcher = used_to(50 * US)
    dispatcher.offer(task(), 1.0)
    chosen = dispatcher.next_assignment()
    assert chosen is not None
    dispatcher.close_worker(0)
    assert (dispatcher.free_slots(), fill(dispatcher, 1)) == (0, {})
    assert dispatcher.finish(0, chosen[1].seq, 50 * US) is chosen[1]
    assert (dispatcher.free_slots(), dispatcher.next_assignment()) == (0, None)


def test_what_a_dead_worker_had_not_begun_comes_first_and_in_order() -> None:
    dispatcher = used_to(50 * US)
    fill(dispatcher, 4)
    running, *waiting = dispatcher.outstanding(0)
    newer = dispatcher.offer(task(), 1.0).seq
    dispatcher.remove_worker(0, running)
    dispatcher.add_worker(9)
    order = [chosen[1].seq for _ in range(4) if (chosen := dispatcher.next_assignment()) is not None]
    assert order == [*waiting, newer]


def test_tasks_in_the_backlog_can_be_withdrawn_and_those_at_workers_be_found() -> None:
    dispatcher = Dispatcher()
    dispatcher.add_worker(1)
    sent, first, second = (dispatcher.offer(Task(task_id, "act"), 1.0) for task_id in ("sent", "first", "second"))
    assert dispatcher.next_assignment() == (1, sent)
    assert dispatcher.assigned({"sent", "first"}) == [(1, sent)]
    assert dispatcher.withdraw({"sent", "first"}) == [first]
    assert (dispatcher.backlog, dispatcher.drop_backlog()) == (1, [second])


def test_the_higher_priority_goes_first_also_past_what_a_dead_worker_had() -> None:
    dispatcher = used_to(50 * US)
    fill(dispatcher, 3)
    running, *waiting = dispatcher.outstanding(0)
    low, high, usual = (dispatcher.offer(task(priority=priority), 1.0).seq for priority in (-1, 7, 0))
    dispatcher.remove_worker(0, running)
    dispatcher.add_worker(9)
    order = [chosen[1].seq for _ in range(5) if (chosen := dispatcher.next_assignment()) is not None]
    assert order == [high, *waiting, usual, low]


def test_tasks_are_short_while_several_tasks_may_wait_in_each_ring() -> None:
    dispatcher = Dispatcher()
    dispatcher.add_worker(1)
    ahead = [dispatcher.has_short_tasks]
    for run_ns in (100 * US, 2 * MS, US):
        for _ in range(60):
            assignment = dispatcher.offer(task(), 1.0)
            assert dispatcher.next_assignment() == (1, assignment)
            dispatcher.finish(1, assignment.seq, run_ns)
        ahead.append(dispatcher.has_short_tasks)
    assert ahead == [False, True, False, True]


def sent_together(dispatcher: Dispatcher, count: int) -> list[int]:
    """Who gets so many equal tasks that are sent together."""
    workers: list[int] = []
    for _ in range(count):
        placed = dispatcher.place(task(), 1.0, workers[-1] if workers else None)
        assert placed is not None
        workers.append(placed[0])
    return workers


def test_of_short_tasks_one_worker_gets_as_many_as_it_takes_to_wake_another() -> None:
    dispatcher = used_to(30 * US, workers=3)
    together = WAKE_NS // (30 * US)
    first, second, *others = sent_together(dispatcher, 2 * together + 1)[::together]
    assert len({first, second, *others}) == 3
    assert [len(dispatcher.outstanding(worker)) for worker in (first, second, *others)] == [together, together, 1]


def test_tasks_that_take_longer_than_a_wake_up_are_spread() -> None:
    dispatcher = used_to(WAKE_NS, workers=3)
    assert len(set(sent_together(dispatcher, 3))) == 3


def test_a_task_that_comes_alone_waits_for_nobody() -> None:
    dispatcher = used_to(5 * US, workers=2)
    assert {placed[0] for _ in range(2) if (placed := dispatcher.place(task(), 1.0))} == {0, 1}


def test_prefetch_bounds_what_is_sent_together() -> None:
    dispatcher = used_to(US, workers=2, prefetch=2)
    assert sent_together(dispatcher, 6).count(0) == 3


def test_what_waits_is_not_overtaken() -> None:
    dispatcher = Dispatcher()
    waiting = dispatcher.offer(task(), 1.0)
    dispatcher.add_worker(1)
    assert dispatcher.place(task(), 1.0) is None
    assert dispatcher.next_assignment() == (1, waiting)


def test_who_looks_sees_the_first_in_line_and_whether_a_worker_has_nothing() -> None:
    dispatcher = Dispatcher(prefetch=0)
    assert (dispatcher.first_in_line, dispatcher.has_idle_worker) == (None, False)
    dispatcher.add_worker(1)
    assert dispatcher.has_idle_worker
    dispatcher.offer(task(), 1.0)
    urgent = dispatcher.offer(task(priority=5), 1.0)
    assert dispatcher.first_in_line == urgent.seq
    assert dispatcher.next_assignment() == (1, urgent)
    assert (dispatcher.first_in_line, dispatcher.has_idle_worker) == (urgent.seq - 1, False)
