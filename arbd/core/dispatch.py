"""Which worker gets which task, and how many tasks to ask the hub for.

Not a scheduler of time: deadlines are ``arbd.core.deadlines``. Decisions only; nothing is sent here.

A task offered is *assigned* to a worker at once, or waits in the backlog until one has room: the higher priority first,
then first come, first served. What comes back from a worker comes before its equals. A worker has room

* when it has nothing to do, or
* when what runs there is short (at most ``RING_NS``) and what waits there is less than ``COVER_NS`` of work:
  enough that the worker never idles while the link fetches the next task, so several 50 µs tasks wait in a ring,
  and one 5 ms task does.

An idle worker comes before the next in turn that has room; but of tasks that are sent together, the first worker gets
``WAKE_NS`` of work before the next is taken, because to wake one costs more than that.

Behind longer tasks nothing waits in a ring, because taking it back is for the exception: there a few tasks wait in the
backlog (the *reserve*), and go to whichever worker is free first. When tasks take longer than ``RESERVE_NS`` nothing
waits at all, because the hub call that it would save is too small a part of them.

How long an action takes is learned per action from its runs: up at once, down slowly, so that one slow run stops
tasks from piling up behind the next. An action never seen counts as long.

Invariants: each task offered comes back exactly once, from ``finish``, as a ``Loss`` or from ``take_back``,
``withdraw``, ``withdraw_action`` or ``drop_backlog``; no worker sees a sequence number twice; ``free_slots`` is exact
at every moment and costs O(1), amortised.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from arbd.core.lines import Lines
from arbd.errors import InvariantError
from arbd.model.task import Task

COVER_NS: Final = 4_000_000  # work that may wait in one ring: a hub call takes about 1 ms, 4 under load
WAKE_NS: Final = 100_000  # what it takes to wake a worker, in both processes, until the task runs
RING_NS: Final = 10_000_000  # a longer task would hold up what waits behind it in its ring
RESERVE_NS: Final = 100_000_000  # behind longer tasks nothing waits: the hub call it saves is < 1 % of them
_TOGETHER: Final = 16  # at most so many, whatever they are believed to take
_UNKNOWN_NS: Final = RESERVE_NS + 1
_DECAY: Final = 8  # an estimate falls by 1/8 of the difference per run
_DRIFT: Final = 1.25  # slots are recounted when somebody asks for them and the mean has moved by this factor


class Assignment(msgspec.Struct, gc=False):
    """A task with its number, its limits and what it is expected to cost."""

    seq: int
    task: Task
    timeout: float  # seconds
    cost_ns: int = 0
    cancelled_at_ns: int = 0  # nobody wants its result since then; 0: somebody does
    taken_ns: int = 0  # when it had come; 0: nobody said
    sent_ns: int = 0  # when it went to its worker after it had waited; 0: at once

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants its result any more."""
        return self.cancelled_at_ns != 0


class Loss(msgspec.Struct, frozen=True):
    """The tasks of a worker that ended: the one it was running, if any, and how many wait again."""

    running: Assignment | None
    returned: int


class _Worker:
    __slots__ = ("load_ns", "open", "outstanding", "room")

    def __init__(self) -> None:
        self.outstanding: dict[int, Assignment] = {}  # in the order they were sent
        self.load_ns = 0
        self.room = 0
        self.open = True


class Dispatcher:
    """The decisions of dispatch. ``prefetch`` is the most tasks that may wait in one ring (default 256)."""

    def __init__(self, prefetch: int = 256) -> None:
        self.set_prefetch(prefetch)
        self._workers: dict[int, _Worker] = {}
        self._idle: list[int] = []  # a stack: the worker that was busy last is the warmest
        self._open: deque[int] = deque()
        self._backlog: Lines[Assignment] = Lines()
        self._estimate_ns: dict[str, int] = {}
        self._mean_ns = _UNKNOWN_NS
        self._counted_mean_ns = self._mean_ns
        self._room = 0
        self._changed: set[_Worker] = set()  # their room is to be counted anew
        self._reserve = 0
        self._next_seq = 1

    # -- workers come and go ---------------------------------------------------------------------------

    def set_prefetch(self, prefetch: int) -> None:
        """Set the most tasks that may wait in one ring; what waits in one already stays there."""
        self._prefetch = prefetch
        self._together = min(_TOGETHER, prefetch + 1)

    def add_worker(self, worker_id: int) -> None:
        """Assign tasks to this worker from now on."""
        if worker_id in self._workers:
            raise InvariantError(f"dispatch: worker {worker_id} is there already")
        self._workers[worker_id] = _Worker()
        self._idle.append(worker_id)
        self._open.append(worker_id)
        self._count_reserve()
        self._recount(self._workers[worker_id])

    def close_worker(self, worker_id: int) -> None:
        """Assign nothing more to this worker; what it has, it finishes."""
        worker = self._workers[worker_id]
        worker.open = False
        self._forget_openings(worker_id)
        self._recount(worker)

    def remove_worker(self, worker_id: int, running_seq: int) -> Loss:
        """Forget a worker that is gone. The task it was running is lost; those it had not begun wait again, before
        their equals."""
        worker = self._workers.pop(worker_id)
        self._room -= worker.room
        self._changed.discard(worker)
        self._forget_openings(worker_id)
        running = worker.outstanding.pop(running_seq, None)
        waiting = list(worker.outstanding.values())
        for assignment in reversed(waiting):
            self._backlog.appendleft(assignment, assignment.task.priority)
        return Loss(running, len(waiting))

    def _forget_openings(self, worker_id: int) -> None:
        for openings in (self._idle, self._open):
            if worker_id in openings:
                openings.remove(worker_id)
        self._count_reserve()

    # -- tasks -----------------------------------------------------------------------------------------

    def place(
        self, task: Task, timeout: float, before: int | None = None, taken_ns: int = 0
    ) -> tuple[int, Assignment] | None:
        """Take a task over, and say which worker gets it; ``None``: nobody has room, or others wait, so it waits, too.
        ``before`` as in ``next_assignment``; ``taken_ns`` is only kept.
        """
        cost_ns = self._cost_of(task)
        worker_id = None if self._backlog else self._pick(cost_ns, before)
        if worker_id is not None:
            return self._assign(worker_id, Assignment(self._number(), task, timeout, cost_ns, 0, taken_ns))
        self.offer(task, timeout, taken_ns)
        return None

    def offer(self, task: Task, timeout: float, taken_ns: int = 0) -> Assignment:
        """Take a task over; it waits until ``next_assignment`` gives it to a worker."""
        assignment = Assignment(self._number(), task, timeout, taken_ns=taken_ns)
        self._backlog.append(assignment, task.priority)
        return assignment

    def _number(self) -> int:
        seq = self._next_seq
        self._next_seq += 1
        return seq

    def next_assignment(self, before: int | None = None) -> tuple[int, Assignment] | None:
        """The first of the waiting tasks and the worker that gets it; ``None`` when none waits or nobody has room.

        ``before``: the worker that gets the task before this one, if the two are sent together.
        """
        assignment = self._backlog.head()
        if assignment is None:
            return None
        assignment.cost_ns = self._cost_of(assignment.task)
        worker_id = self._pick(assignment.cost_ns, before)
        if worker_id is None:
            return None
        self._backlog.popleft()
        return self._assign(worker_id, assignment)

    def _cost_of(self, task: Task) -> int:
        return self._estimate_ns.get(task.action, _UNKNOWN_NS)

    def _is_worth_no_other(self, worker_id: int, cost_ns: int) -> bool:
        """Whether this worker is done with that, too, before another would have woken up."""
        worker = self._workers.get(worker_id)
        if worker is None or not worker.open or not 0 < len(worker.outstanding) < self._together:
            return False
        return worker.load_ns + cost_ns <= WAKE_NS

    def _assign(self, worker_id: int, assignment: Assignment) -> tuple[int, Assignment]:
        worker = self._workers[worker_id]
        worker.outstanding[assignment.seq] = assignment
        worker.load_ns += assignment.cost_ns
        self._changed.add(worker)
        return worker_id, assignment

    def undo(self, worker_id: int, assignment: Assignment) -> None:
        """Put a task back, first in line: its worker's ring had no room for it after all."""
        worker = self._workers[worker_id]
        self._settle(worker_id, worker, worker.outstanding.pop(assignment.seq))
        self._backlog.appendleft(assignment, assignment.task.priority)

    def return_skipped(self, worker_id: int, seq: int) -> None:
        """Put a task back in line that its worker has not begun and will not; unless it waits already."""
        assignment = self.finish(worker_id, seq, None)
        if assignment is not None:
            self._wait_again(assignment)

    def take_back(self, worker_id: int, running_seq: int, ran_ns: int) -> list[Assignment]:
        """Put all that this worker has back in line, before their equals, but for the task it is running, and has been
        for ``ran_ns``: nothing more waits behind that one. Those that were cancelled come back instead."""
        worker = self._workers[worker_id]
        running = worker.outstanding.pop(running_seq, None)
        waiting = list(worker.outstanding.values())
        worker.outstanding.clear()
        worker.load_ns = 0
        if running is not None:
            worker.outstanding[running_seq] = running
            worker.load_ns = running.cost_ns = max(running.cost_ns, ran_ns)
            self._learn_at_least(running.task.action, ran_ns)
        elif worker.open and worker_id not in self._idle:
            self._idle.append(worker_id)
        self._changed.add(worker)
        for assignment in reversed(waiting):
            if not assignment.cancelled:
                self._wait_again(assignment)
        return [assignment for assignment in waiting if assignment.cancelled]

    def _wait_again(self, assignment: Assignment) -> None:
        """Put a task back with a new number: the worker may say of the old one that it has skipped it, when it has been
        given the same task again; and its page may name the old one."""
        assignment.seq = self._number()
        self._backlog.appendleft(assignment, assignment.task.priority)

    def finish(self, worker_id: int, seq: int, run_ns: int | None) -> Assignment | None:
        """Take a task from a worker that is done with it; ``None`` if it has it no longer, because a verdict was given
        before.

        ``run_ns``: how long it ran; ``None`` if nobody knows, so that nothing is learned from it.
        """
        worker = self._workers.get(worker_id)
        assignment = None if worker is None else worker.outstanding.pop(seq, None)
        if worker is None or assignment is None:
            return None
        self._settle(worker_id, worker, assignment)
        if run_ns is not None:
            self._learn(assignment.task.action, run_ns)
        return assignment

    def withdraw(self, task_ids: Collection[str]) -> list[Assignment]:
        """Take these tasks out of the backlog, if they are there; the caller gives each its verdict."""
        return self._backlog.take_out(lambda assignment: assignment.task.id in task_ids)

    def withdraw_action(self, action: str) -> list[Assignment]:
        """Take all tasks of this action out of the backlog; the caller has them then."""
        return self._backlog.take_out(lambda assignment: assignment.task.action == action)

    def assigned(self, task_ids: Collection[str]) -> list[tuple[int, Assignment]]:
        """Those of these tasks that a worker has, each with its worker."""
        return [
            (worker_id, assignment)
            for worker_id, worker in self._workers.items()
            for assignment in worker.outstanding.values()
            if assignment.task.id in task_ids
        ]

    def drop_backlog(self) -> list[Assignment]:
        """Everything that waits for a worker; the caller gives each its verdict."""
        dropped = list(self._backlog)
        self._backlog.clear()
        return dropped

    def drop_everything(self) -> list[Assignment]:
        """All that workers have and all that waits; the caller gives each its verdict."""
        dropped = self.drop_backlog()
        for worker_id, worker in self._workers.items():
            for assignment in list(worker.outstanding.values()):
                self.finish(worker_id, assignment.seq, None)
                dropped.append(assignment)
        return dropped

    def _settle(self, worker_id: int, worker: _Worker, assignment: Assignment) -> None:
        """Account for a task that a worker has no longer."""
        worker.load_ns -= assignment.cost_ns
        if not worker.outstanding and worker.open:
            self._idle.append(worker_id)
        self._changed.add(worker)

    def _pick(self, cost_ns: int, before: int | None) -> int | None:
        """Choose a worker: the one before, an idle one, or else the next in turn that has room."""
        if before is not None and self._is_worth_no_other(before, cost_ns):
            return before
        if self._idle:
            return self._idle.pop()
        self._catch_up()
        if self._room <= 0:
            return None
        for _ in range(len(self._open)):
            worker_id = self._open[0]
            self._open.rotate(-1)
            if self._workers[worker_id].room > 0:
                return worker_id
        return None

    # -- how much more ---------------------------------------------------------------------------------

    def free_slots(self) -> int:
        """How many tasks more could start soon."""
        self._catch_up()
        return max(0, self._room + self._reserve - len(self._backlog))

    def _learn(self, action: str, run_ns: int) -> None:
        known = self._estimate_ns.get(action)
        if known is None or run_ns > known:
            self._estimate_ns[action] = run_ns
        else:
            self._estimate_ns[action] = known - (known - run_ns) // _DECAY
        self._mean_ns += (run_ns - self._mean_ns) // _DECAY if run_ns < self._mean_ns else run_ns - self._mean_ns

    def _learn_at_least(self, action: str, ran_ns: int) -> None:
        """Learn that a run of this action takes that long already."""
        if ran_ns > self._estimate_ns.get(action, 0):
            self._learn(action, ran_ns)

    def _catch_up(self) -> None:
        """Recount the room of the workers that have changed, and of all if the mean has moved far since. For those who
        are about to ask for room, not for each run that ends: with 64 workers, one slow run among fast ones cost a
        millisecond, a quarter of all CPU; and a task that comes alone is with its worker before anything is counted."""
        mean, counted = self._mean_ns, self._counted_mean_ns
        if mean * _DRIFT < counted or mean > counted * _DRIFT:
            self._counted_mean_ns = mean
            self._changed.update(self._workers.values())
            self._count_reserve()
        for worker in self._changed:
            self._recount(worker)
        self._changed.clear()

    def _count_reserve(self) -> None:
        """Count the reserve: one worker of n comes free every mean / n, so as many tasks as that makes during a hub
        call."""
        mean = self._counted_mean_ns
        covers = RING_NS < mean <= RESERVE_NS
        self._reserve = -(-COVER_NS * len(self._open) // mean) if covers else 0

    def _recount(self, worker: _Worker) -> None:
        room = self._room_of(worker) if worker.open else 0
        self._room += room - worker.room
        worker.room = room

    def _room_of(self, worker: _Worker) -> int:
        mean = self._counted_mean_ns or 1
        sent = len(worker.outstanding)
        if not sent:
            return 1 if mean > RING_NS else 1 + min(self._prefetch, -(-COVER_NS // mean))
        first = next(iter(worker.outstanding.values())).cost_ns
        cover_left = COVER_NS - (worker.load_ns - first)
        left = self._prefetch + 1 - sent
        if first > RING_NS or cover_left <= 0 or left <= 0:
            return 0
        covers = -(-cover_left // mean)
        return covers if covers < left else left

    def have_work_for(self, duration_ns: int) -> bool:
        """Whether each worker has enough waiting in its ring for that long, as far as can be told."""
        return not self._idle and all(
            worker.load_ns - next(iter(worker.outstanding.values())).cost_ns >= duration_ns
            for worker in self._workers.values()
            if worker.outstanding
        )

    @property
    def has_short_tasks(self) -> bool:
        """Whether tasks are so short that several may wait in each ring."""
        return self._mean_ns <= COVER_NS // 4

    # -- looking ---------------------------------------------------------------------------------------

    def has_worker(self, worker_id: int) -> bool:
        """Whether this worker has been added and not yet removed."""
        return worker_id in self._workers

    def expected_ns(self, action: str) -> int | None:
        """How long the next run of this action is expected to take; ``None``: none has ended yet."""
        return self._estimate_ns.get(action)

    @property
    def has_idle_worker(self) -> bool:
        """Whether a worker that takes tasks has none."""
        return bool(self._idle)

    @property
    def first_in_line(self) -> int | None:
        """The number of the task that is assigned next, of those that wait."""
        assignment = self._backlog.head()
        return None if assignment is None else assignment.seq

    @property
    def backlog(self) -> int:
        """Tasks that wait for a worker."""
        return len(self._backlog)

    def has_task(self, task: Task) -> bool:
        """Whether this very task is with a worker or waits for one. Looks at all of them."""
        if any(assignment.task is task for assignment in self._backlog):
            return True
        return any(each.task is task for worker in self._workers.values() for each in worker.outstanding.values())

    def outstanding(self, worker_id: int) -> dict[int, Assignment]:
        """What one worker has, by sequence number, in the order it was sent."""
        return self._workers[worker_id].outstanding

    def busy_workers(self) -> Iterator[int]:
        """Workers that have at least one task."""
        return (worker_id for worker_id, worker in self._workers.items() if worker.outstanding)

    def in_flight(self) -> int:
        """Tasks with workers or waiting for one."""
        return len(self._backlog) + sum(len(worker.outstanding) for worker in self._workers.values())
