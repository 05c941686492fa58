"""A ``Pool`` between zygotes that note what they are asked for and workers without processes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from flow_support import FakeCell

from arbd.core.lifecycle import State, WorkerEvent, step
from arbd.core.recycling import RecycleLimits
from arbd.host import doorbell, procs
from arbd.ipc import zygote_protocol as protocol
from arbd.ipc.cell import Running
from arbd.ipc.notice import Notice
from arbd.model.description import ActionInfo, Description
from arbd.supervisor import pool as module
from arbd.supervisor.lives import WorkerTimes
from arbd.supervisor.pool import Pool

RING_BYTES = 1 << 14
TIMES = WorkerTimes(start_s=30.0, stop_s=5.0)


class FakeZygote:
    """A zygote that was loaded, and starts nothing."""

    def __init__(self, name: str = "zygote", action: str = "act") -> None:
        self.name = name
        self.description = Description({}, [ActionInfo(action, "", None, {}, None, "", False)])
        self.numbers = {action: 0}
        self.asked: list[protocol.Spawn] = []
        self.lost = False
        self.silent = False
        self.is_stopped = False
        self.has_answered = True
        self.heard_at_ns = 0
        self.generation = 0
        self.configured: list[protocol.Configure] = []
        self.error: Exception | None = None  # raised by ``spawn`` or ``configure``
        self.is_closed = False
        self.is_killed = False
        self.is_gone = False

    def __repr__(self) -> str:
        return self.name

    @property
    def answers(self) -> bool:
        return not (self.lost or self.silent)

    def configure(self, configure: protocol.Configure, events: Any) -> None:
        if self.error is not None:
            raise self.error
        self.configured.append(configure)

    def spawn(self, spawn: protocol.Spawn, fds: tuple[int, ...]) -> None:
        if self.error is not None:
            raise self.error
        self.asked.append(spawn)

    @property
    def slots(self) -> list[int]:
        """For which a worker was asked, in that order."""
        return [spawn.slot for spawn in self.asked]

    def close(self) -> None:
        self.is_closed = True

    def kill(self) -> None:
        self.is_killed = True

    async def wait_gone(self) -> None:
        self.is_gone = True


class ProcesslessWorker:
    """What the pool needs of a worker."""

    def __init__(self, machine: Machine, worker_id: int, slot: int, zygote: FakeZygote) -> None:
        self.id = worker_id
        self.slot = slot
        self.zygote = zygote
        self.state = State.STARTING
        self.said_ready = False
        self.booted = False
        self.boot_timer: Any = None
        self.end_timer: Any = None
        self.stop_timer: Any = None
        self.unfit = ""
        self.said_leaving = False
        self.is_dismissed = False
        self.left_unused = False
        self.replacement_reason: Any = None
        self.why: Any = None
        self.bounds: Any = None
        self.damaged = False
        self.unread: list[bytes] = []
        self.pid = 0
        self.pidfd = -1
        self.spawned_at_ns = machine.now_ns()
        self.cell = FakeCell()
        self.seats: Any = memoryview(b"")
        self.bell = self.answers_bell = 1000 + worker_id
        self.kills = 0
        self.was_killed_for_the_zygote = False
        self.is_handed_over = False
        self.is_closed = False

    def handles(self, *bells: int) -> tuple[int, ...]:
        return (self.bell,)

    def handed_over(self) -> None:
        self.is_handed_over = True

    def attach_process(self, pid: int, pidfd: int) -> None:
        self.pid, self.pidfd = pid, pidfd

    def stop_boot_timer(self) -> None:
        if self.boot_timer is not None:
            self.boot_timer.cancel()
            self.boot_timer = None

    def step(self, event: WorkerEvent) -> None:
        self.state = step(self.state, event)

    def kill(self) -> None:
        self.kills += bool(self.pid)

    def kill_for_the_zygote(self) -> None:
        self.was_killed_for_the_zygote = True

    def close(self) -> None:
        self.stop_boot_timer()
        for timer in (self.end_timer, self.stop_timer):
            if timer is not None:
                timer.cancel()
        self.is_closed = True


class Machine:
    """Makes workers, as long as it has what they need."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, now_ns: Callable[[], int]) -> None:
        self.now_ns = now_ns
        self.error: Exception | None = None
        self.made: list[ProcesslessWorker] = []
        self.rung: list[int] = []
        self.killed: list[int] = []  # by handle, of no worker that is known
        monkeypatch.setattr(module, "Worker", self._make)
        monkeypatch.setattr(doorbell, "ring", self.rung.append)
        monkeypatch.setattr(procs, "kill", self.killed.append)

    def _make(self, worker_id: int, slot: int, zygote: FakeZygote, ring_bytes: int) -> ProcesslessWorker:
        if self.error is not None:
            raise self.error
        self.made.append(ProcesslessWorker(self, worker_id, slot, zygote))
        return self.made[-1]


class FakeLimits:
    """Limits that can be had, or not."""

    bell = -1

    def __init__(self) -> None:
        self.attached: set[int] = set()
        self.error: Exception | None = None
        self.detach_error: Exception | None = None

    def attach(self, worker_id: int, *_: Any) -> None:
        if self.error is not None:
            raise self.error
        self.attached.add(worker_id)

    def detach(self, worker_id: int) -> None:
        self.attached.discard(worker_id)
        if self.detach_error is not None:
            raise self.detach_error

    def held(self) -> None:
        return None


class Events:
    """The owner of a pool: what it was told, in words; it raises ``error`` when it is told of an end."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.busy: set[int] = set()  # workers that have tasks
        self.error: Exception | None = None

    def on_worker_ready(self, worker: Any) -> None:
        self.told.append(("ready", worker.id))

    def on_worker_retiring(self, worker: Any) -> None:
        self.told.append(("retiring", worker.id))

    def has_tasks(self, worker: Any) -> bool:
        return worker.id in self.busy

    def on_worker_gone(self, worker: Any, status: int | None) -> None:
        assert not worker.is_closed, "its memory can be read no more"
        self.told.append(("gone", worker.id, status))
        if self.error is not None:
            raise self.error

    def on_cannot_boot(self, by_machine: bool) -> None:
        self.told.append(("cannot boot", by_machine))

    def on_zygote_silent(self, zygote: Any) -> None:
        zygote.silent = True
        self.told.append(("silent", zygote))

    def of(self, what: str) -> list[tuple[Any, ...]]:
        return [each for each in self.told if each[0] == what]


class PoolRig:
    """A pool and all around it, on a loop that is worked off by hand."""

    recycle = RecycleLimits()

    def __init__(self, monkeypatch: pytest.MonkeyPatch, loop: Any, slots: int = 2) -> None:
        self.loop = loop
        self.machine = Machine(monkeypatch, lambda: round(loop.now * 1e9))
        self.limits = FakeLimits()
        self.events = Events()
        self.zygote = FakeZygote()
        self.pool = self.make(slots)
        self.pool.start(self.events)

    def make(self, slots: int) -> Pool:
        limits: Any = self.limits
        zygote: Any = self.zygote
        return Pool([(slot,) for slot in range(slots)], RING_BYTES, limits, zygote, TIMES, self.recycle)

    def move_to(self, zygote: FakeZygote) -> None:
        of_pool: Any = zygote
        self.pool.move_to(of_pool)

    # -- what processes do

    def workers(self, zygote: FakeZygote | None = None) -> list[ProcesslessWorker]:
        """Those that the pool has."""
        found: list[Any] = list(self.pool.workers.values())
        return [each for each in found if zygote in (None, each.zygote)]

    def born(self, worker: ProcesslessWorker) -> None:
        """The zygote has forked it."""
        self.hear(worker)
        self.pool.on_spawned(worker.id, 5000 + worker.id, 6000 + worker.id)

    def hear(self, worker: ProcesslessWorker) -> None:
        worker.zygote.heard_at_ns = self.machine.now_ns()

    def boot(self, *workers: ProcesslessWorker) -> None:
        """These are forked, and ready; by default all that start."""
        for worker in workers or [each for each in self.workers() if each.state is State.STARTING]:
            self.born(worker)
            of_pool: Any = worker
            self.pool.on_ready(of_pool)

    def work(self, worker: ProcesslessWorker, tasks: int = 1) -> None:
        """It finishes so many tasks."""
        worker.cell.done += tasks
        worker.cell.runs = Running(worker.cell.done, 0)

    def say(self, worker: ProcesslessWorker, notice: Notice) -> None:
        """It says something of itself."""
        of_pool: Any = worker
        self.pool.heed(of_pool, notice)

    def of(self, slot: int, state: State = State.SERVING) -> ProcesslessWorker:
        """The one worker of a slot in this state."""
        [found] = [each for each in self.workers() if (each.slot, each.state) == (slot, state)]
        return found

    def end(self, worker: ProcesslessWorker, status: int = 0, reason: str = "") -> None:
        """It ended, and the zygote says so."""
        self.hear(worker)
        self.pool.on_exited(worker.id, status, reason)


def namespace(**words: Any) -> Any:
    """An object with these attributes, for whoever wants a whole one."""
    return SimpleNamespace(**words)
