"""A ``Flow`` between workers that are lists and a link that notes what it is told, on a loop worked off by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from arbd.core.dispatch import Assignment
from arbd.core.history import Why
from arbd.core.lifecycle import State
from arbd.core.recycling import RecycleLimits
from arbd.host import doorbell
from arbd.ipc import frame, layout
from arbd.ipc.cell import Running
from arbd.ipc.notice import Leaving, Notice
from arbd.links.base import LinkHealth
from arbd.model.description import ActionInfo
from arbd.model.encoding import Encoder
from arbd.model.task import Outcome, Task
from arbd.supervisor.flow import Flow


class Handle:
    """A callback that is due; ``delay_s``: in so many seconds from when it was asked for."""

    def __init__(
        self, callback: Callable[..., None], args: tuple[Any, ...], delay_s: float = 0.0, at: float = 0.0
    ) -> None:
        self.callback = callback
        self.args = args
        self.delay_s = delay_s
        self.at = at
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class HandLoop:
    """What is due in the next turn, and what after a time; ``now``: the monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0
        self.soon: list[Handle] = []
        self._later: list[Handle] = []
        self.reported: list[BaseException] = []
        self.readers: dict[int, Callable[[], None]] = {}

    def add_reader(self, fd: int, callback: Callable[..., None], *args: Any) -> None:
        self.readers[fd] = partial(callback, *args)

    def remove_reader(self, fd: int) -> None:
        self.readers.pop(fd, None)

    def on_bell(self) -> None:
        """The doorbell of the fake pool was rung."""
        self.readers[-1]()

    def call_soon(self, callback: Callable[..., None], *args: Any) -> Handle:
        self.soon.append(Handle(callback, args))
        return self.soon[-1]

    def call_later(self, delay_s: float, callback: Callable[..., None], *args: Any) -> Handle:
        self._later.append(Handle(callback, args, delay_s, self.now + delay_s))
        return self._later[-1]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.reported.append(context["exception"])

    @property
    def later(self) -> list[Handle]:
        return [handle for handle in self._later if not handle.is_cancelled]

    def turn(self) -> None:
        """One turn of the loop."""
        handles, self.soon = self.soon, []
        for handle in handles:
            if not handle.is_cancelled:
                handle.callback(*handle.args)

    def turns(self) -> None:
        """Turns until nothing is due at once."""
        while self.soon:
            self.turn()

    def time_passes(self, seconds: float = 0.05) -> None:
        """All that waits for a time is due."""
        self.now += seconds
        self.soon += self._later
        self._later = []
        self.turn()

    def step(self, seconds: float) -> None:
        """So much time passes, and nothing is called before its moment."""
        end = self.now + seconds
        self.turns()
        while (due := min(self.later, key=lambda each: each.at, default=None)) is not None and due.at <= end:
            self.now = max(self.now, due.at)
            self._later.remove(due)
            due.callback(*due.args)
            self.turns()
        self.now = end

    @property
    def is_quiet(self) -> bool:
        return not self.soon and not self.later


class FakeCell:
    """A worker's cell: its page as attributes, its result ring as a list."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.marks: list[int] = []
        self.cancelled: list[int] = []
        self.runs = Running(0, 0)
        self.results = SimpleNamespace(pop_many=self._pop_many)
        self.fails: BaseException | None = None
        self.done = 0
        self.taken = 0

    def tasks_done(self) -> int:
        return self.done

    def totals(self) -> tuple[int, int, int]:
        return self.done, 0, 0

    def places(self) -> tuple[int, int]:
        return self.taken, self.done

    def _pop_many(self, limit: int) -> list[bytes]:
        if self.fails is not None:
            raise self.fails
        taken, self.records = self.records[:limit], self.records[limit:]
        return taken

    def worker_sleeps(self) -> bool:
        return True

    def condemn(self, mark: int) -> None:
        self.marks.append(mark)

    def take_back(self) -> None:
        self.marks.append(-1)

    def cancel(self, seq: int) -> None:
        self.cancelled.append(seq)

    def running(self) -> Running:
        return self.runs


class FakeWorker:
    """A worker process that keeps what it is sent, and does what the test says."""

    def __init__(self, worker_id: int) -> None:
        self.id = self.slot = self.pid = self.bell = worker_id
        self.state = State.SERVING
        self.said_ready = True
        self.damaged = False
        self.said_leaving = False
        self.unread: list[bytes] = []
        self.cell = FakeCell()
        self.zygote = SimpleNamespace(generation=1)
        self.has: list[Assignment] = []
        self.has_room = True
        self.error: dict[str, BaseException] = {}  # raised when a task of that id is sent
        self.bodies: list[bytes | Exception] = []  # of results that come by reference
        self.signals = 0
        self.waited = False

    def push(self, assignment: Assignment) -> bool:
        if (error := self.error.get(assignment.task.id)) is not None:
            raise error
        if self.has_room:
            self.has.append(assignment)
        return self.has_room

    def take_parcel(self, limit: int) -> bytes:
        body = self.bodies[0]
        if isinstance(body, Exception):
            raise body
        return cast(bytes, self.bodies.pop(0))

    def signal_cancel(self) -> None:
        self.signals += 1

    def wait_gone(self, timeout_s: float) -> None:
        self.waited = True

    # -- what the test has it do

    def begin(self, task_id: str, at_ns: int = 1) -> Assignment:
        """It begins this task."""
        [assignment] = [each for each in self.has if each.task.id == task_id]
        self.cell.runs = Running(assignment.seq, at_ns)
        return assignment

    def answer(self, *task_ids: str, run_ns: int = 1000) -> None:
        """It has done these tasks, or all."""
        for assignment in [each for each in self.has if not task_ids or each.task.id in task_ids]:
            self.has.remove(assignment)
            self.cell.records.append(frame.encode_result(assignment.seq, run_ns, "success", b'{"n":1}'))


class FakePool:
    """Workers in slots, and the board on which the supervisor says that it sleeps."""

    def __init__(self, workers: Sequence[FakeWorker]) -> None:
        self.workers = {worker.id: worker for worker in workers}
        self.board = {layout.SUPERVISOR_SLEEPING: 0}
        self.size = len(workers)
        self.limits = SimpleNamespace(held=lambda: None)
        self.bell = -1
        self.fences = 0
        self.on_fence: list[Callable[[], None]] = []  # what others do in that moment
        self.killed: list[int] = []
        self.given_up: list[str] = []
        self.ready: list[int] = []
        self.is_replacing = True
        self.noted: list[tuple[int, Why]] = []
        self.heard: list[tuple[int, Notice]] = []
        self.told_to_leave: list[int] = []
        self.history: list[Any] = []
        self.recycle = RecycleLimits()

    def note(self, worker: FakeWorker, why: Why) -> None:
        self.noted.append((worker.id, why))

    def heed(self, worker: FakeWorker, notice: Notice) -> None:
        self.heard.append((worker.id, notice))
        if isinstance(notice, Leaving):
            worker.said_leaving = True
            worker.state = State.LEAVING
            self.on_retiring(worker)

    on_retiring: Callable[[FakeWorker], None] = staticmethod(lambda worker: None)

    def out_of_service(self) -> dict[int, Any]:
        return {}

    def tell_all_to_leave(self) -> None:
        self.told_to_leave += self.workers
        self.workers.clear()

    def fence(self) -> None:
        self.fences += 1
        for happens in self.on_fence:
            happens()

    def with_news(self) -> list[FakeWorker]:
        return list(self.workers.values())

    def kill(self, worker: FakeWorker) -> None:
        worker.state = State.CONDEMNED
        self.killed.append(worker.id)

    def give_up(self, worker: FakeWorker, event: str, reason: str) -> None:
        worker.damaged = True
        self.given_up.append(event)
        self.kill(worker)

    def on_ready(self, worker: FakeWorker) -> None:
        self.ready.append(worker.id)

    def stop_replacing(self) -> None:
        self.is_replacing = False

    def unheard(self) -> frozenset[tuple[int, int]]:
        return frozenset((worker.id, 0) for worker in self.workers.values() if worker.cell.records)

    def serves(self) -> bool:
        return any(worker.state in (State.SERVING, State.RETIRING) for worker in self.workers.values())


class NotedStacks:
    """Where tasks were, as somebody says; ``told``: of which tasks that went to the log, with what struck."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.told: list[tuple[str, str, str]] = []

    def take(self, worker: FakeWorker, assignment: Assignment) -> str:
        self.asked.append(assignment.task.id)
        return "somewhere"

    def tell(self, worker: FakeWorker, assignment: Assignment, stack: str) -> None:
        self.told.append((assignment.task.id, "killed", stack))

    def stopped(self, worker: FakeWorker, assignment: Assignment, stack: str) -> None:
        self.told.append((assignment.task.id, "stopped", stack))


class Rig:
    """The flow, and all around it. ``loop``: in place of one that is worked off by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, workers: int = 3, loop: Any = None) -> None:
        self.loop = HandLoop() if loop is None else loop
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self.loop)
        monkeypatch.setattr(time, "monotonic", lambda: self.loop.now)
        monkeypatch.setattr(time, "monotonic_ns", lambda: round(self.loop.now * 1e9))
        monkeypatch.setattr(time, "sleep", self._sleep)
        monkeypatch.setattr(doorbell, "wait", lambda _: None)
        self.woken: list[int] = []
        monkeypatch.setattr(doorbell, "ring", self.woken.append)
        self.told: list[str] = []
        self.sends_one_by_one = False
        self.found = LinkHealth()
        self.workers = [FakeWorker(number) for number in range(1, workers + 1)]
        self.pool = FakePool(self.workers)
        encoder = Encoder(provider="p", timezone="UTC", utc_now=lambda: None, envelope="plain")  # type: ignore[arg-type,return-value] # without an envelope nobody asks for the time
        settings: Any = SimpleNamespace(
            execution_timeout=1.0, max_payload=100, max_result=1 << 20, outbox_limit=100, prefetch=256, kill_grace=0.25
        )
        pool: Any = self.pool
        self.flow = Flow(settings, encoder, pool, self)
        self.stacks = NotedStacks()
        monkeypatch.setattr(self.flow, "task_stacks", self.stacks)
        self.pool.on_retiring = lambda worker: self.flow.dispatcher.close_worker(worker.id)
        self.set_actions("act")
        for worker in self.workers:
            self.flow.dispatcher.add_worker(worker.id)
        self.told.clear()

    def set_actions(self, *names: str, timeout: float | None = None) -> None:
        actions = [ActionInfo(name, "", timeout, {}, None, "", False) for name in names]
        self.flow.set_actions(SimpleNamespace(actions=actions))  # type: ignore[arg-type] # all of it that is looked at

    def _sleep(self, seconds: float) -> None:
        self.loop.now += seconds

    # -- the link

    stats: Any = None

    def health(self, now: float) -> LinkHealth:
        return self.found

    async def start(self, port: Any) -> None:
        pass

    def results_ready(self) -> None:
        self.told.append("results")

    def renew(self, settings: Any, options: Any) -> None:
        self.told.append("renew")

    def slots_changed(self) -> None:
        self.told.append("slots")

    async def stop_taking(self) -> None:
        self.told.append("stop")

    def take_again(self) -> None:
        self.told.append("again")

    async def flush(self, timeout: float) -> bool:
        return True

    async def close(self) -> None:
        pass

    # -- what is in there

    @property
    def sent(self) -> list[str]:
        return [each.task.id for worker in self.workers for each in worker.has]

    def waiting(self) -> set[str]:
        """Tasks that wait, or are with a worker; they are taken out."""
        return {each.task.id for each in self.flow.dispatcher.drop_everything()}

    def outcomes(self) -> dict[str, Outcome]:
        """The verdicts in the outbox; they are taken out."""
        found: dict[str, Outcome] = {}
        while (outcome := self.flow.outbox.take()) is not None:
            assert outcome.task.id not in found, "two verdicts"
            found[outcome.task.id] = outcome
            self.flow.outbox.ack(outcome, self.loop.now)
        return found

    def results(self) -> dict[str, str]:
        """The same as text."""
        return {task_id: outcome.result.decode() for task_id, outcome in self.outcomes().items()}

    def learn_that_tasks_are_short(self) -> None:
        dispatcher = self.flow.dispatcher
        for _ in range(200):
            dispatcher.offer(Task("id", "act"), 1.0)
            chosen = dispatcher.next_assignment()
            assert chosen is not None
            dispatcher.finish(chosen[0], chosen[1].seq, 1000)


def tasks(*ids: str, action: str = "act") -> list[Task]:
    """Tasks with these ids."""
    return [Task(each, action) for each in ids]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A flow with three workers."""
    return Rig(monkeypatch)
