"""The life of each worker process: birth, readiness, retirement, the orderly end or the kill, and the report of it.

Not which slots have workers, and not when another one is started (``arbd.supervisor.pool``).

    begin ─> birth ─> ready ─> retire ──────────> "Leaving" ─> stop phase ─> exited ─> removed
               │        └─> "Leaving" by itself ─────^             │ stop_timeout, and a margin
               │ BOOT_TIMEOUT_S and start_timeout                  v
               └───────────────────────────────────────────────> kill

The zygote reports who was born and who ended. The end is seen here, too, by the worker's pidfd: a zygote that does not
say so for ``SILENCE_S``, or does not answer a request for that long, is stopped or hangs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from arbd.core.lifecycle import State, WorkerEvent
from arbd.host import doorbell, procs
from arbd.ipc import layout
from arbd.logs import get_logger
from arbd.logs.notable import note
from arbd.supervisor.worker import Worker
from arbd.supervisor.zygote_link import ZygoteLink

BOOT_TIMEOUT_S: Final = 60.0  # a worker started by exec imports the author's module again
SILENCE_S: Final = 5.0  # a fork takes milliseconds, a second where the zygote holds very much memory
STOP_MARGIN_S: Final = 1.0  # the worker ends its stop phase itself, and may be slow to do so
_TAKES_TASKS_BACK: Final = (State.STARTING, State.SERVING, State.RETIRING, State.LEAVING)


class WorkerTimes(NamedTuple):
    """How long a worker may take to start and to stop, in seconds: ``worker.start_timeout``, ``.stop_timeout``."""

    start_s: float = 30.0
    stop_s: float = 5.0


class LifeEvents(Protocol):
    """What the owner of the workers is told."""

    def on_worker_born(self, worker: Worker) -> None:
        """Its process exists."""

    def on_worker_retiring(self, worker: Worker) -> None:
        """It gets no more tasks."""

    def has_tasks(self, worker: Worker) -> bool:
        """Whether it has any that it has not answered."""

    def on_worker_gone(self, worker: Worker, status: int | None) -> None:
        """It ended: exit code, or minus a signal number; ``None``: nobody can tell. Its memory can still be read."""

    def on_worker_removed(self, worker: Worker) -> None:
        """Nothing of it is left."""

    def on_zygote_silent(self, zygote: ZygoteLink) -> None:
        """A zygote neither starts workers nor says who ended."""


class Lives:
    """All workers there are, by id."""

    def __init__(self, times: WorkerTimes, fence: Callable[[], object], events: LifeEvents) -> None:
        self.workers: dict[int, Worker] = {}
        self.unborn: set[int] = set()  # workers that a zygote was asked for
        self.times = times
        self._fence = fence
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._log = get_logger("arbd.pool")

    # -- birth ---------------------------------------------------------------------------------------------

    def begin(self, worker: Worker) -> None:
        """A zygote was asked for this worker."""
        self.workers[worker.id] = worker
        self.unborn.add(worker.id)
        self._wait_for_birth(worker)

    def _wait_for_birth(self, worker: Worker) -> None:
        left_s = _silence_left_s(worker.zygote, worker.spawned_at_ns)
        if left_s > 0:
            worker.boot_timer = self._loop.call_later(left_s, self._wait_for_birth, worker)
            return
        worker.boot_timer = None
        self._events.on_zygote_silent(worker.zygote)
        unborn = [other for each in self.unborn if (other := self.workers[each]).zygote is worker.zygote]
        for other in unborn:
            other.cell.condemn(layout.STOP)  # it may be there, and nobody has said so
        self._fence()
        for other in unborn:
            self.remove(other, None)  # should it come to be all the same, it is killed at once

    def on_spawned(self, worker_id: int, pid: int, pidfd: int) -> None:
        """The zygote has forked a worker."""
        worker = self.workers.get(worker_id)
        if worker is None:  # given up because nobody said so in time
            procs.kill(pidfd)
            os.close(pidfd)
            return
        worker.attach_process(pid, pidfd)
        try:
            self._loop.add_reader(pidfd, self._on_ended, worker)
        except OSError as error:  # the kernel watches no more files for us; the zygote still tells of its end
            self._log.warning("worker_not_watched", worker=worker.slot, reason=str(error))
        self.unborn.discard(worker_id)
        worker.stop_boot_timer()
        if worker.state is State.CONDEMNED:
            worker.kill()
        elif worker.state is State.STARTING:
            limit_s = BOOT_TIMEOUT_S + self.times.start_s
            worker.boot_timer = self._loop.call_later(limit_s, self._give_up_booting, worker, limit_s)
        self._events.on_worker_born(worker)

    def _give_up_booting(self, worker: Worker, limit_s: float) -> None:
        note(self._log, "error", "worker_boot_timeout", worker=worker.slot, seconds=limit_s)
        self.kill(worker)

    def ready(self, worker: Worker) -> bool:
        """It says that it takes tasks, and its zygote that it is there; whether it does, for it may be dying."""
        worker.step(WorkerEvent.READY)
        worker.stop_boot_timer()
        worker.booted = worker.state is State.SERVING
        return worker.booted

    # -- the end -------------------------------------------------------------------------------------------

    def retire(self, worker: Worker) -> None:
        """Have a worker that serves finish what it has, and leave."""
        worker.step(WorkerEvent.RETIRE)
        self._events.on_worker_retiring(worker)
        _tell_to_leave(worker)
        self._wait_for_leaving(worker, was_idle=not self._events.has_tasks(worker))

    def _wait_for_leaving(self, worker: Worker, *, was_idle: bool) -> None:
        """Look again after its time to end; one that had no task then and says nothing until the next look hangs."""
        limit_s = self.times.stop_s + STOP_MARGIN_S
        worker.stop_timer = self._loop.call_later(limit_s, self._look_at_retiring, worker, was_idle)

    def _look_at_retiring(self, worker: Worker, was_idle: bool) -> None:
        worker.stop_timer = None
        if worker.state is not State.RETIRING:
            return
        is_idle = not self._events.has_tasks(worker)
        if not (is_idle and was_idle):
            self._wait_for_leaving(worker, was_idle=is_idle)
            return
        hint = "it was told to leave, has no task, and does not leave; it is killed"
        note(self._log, "warning", "worker_hangs", worker=worker.slot, pid=worker.pid, hint=hint)
        self.kill(worker)

    def leave(self, worker: Worker) -> None:
        """It has said that it begins no task any more: it has its time to end in order, then it is killed."""
        was = worker.state
        worker.step(WorkerEvent.LEAVE)
        if worker.state is not State.LEAVING:
            return  # it is being killed
        if was is not State.RETIRING:
            if was is State.SERVING:
                self._events.on_worker_retiring(worker)
            _tell_to_leave(worker)
        if worker.pid:
            worker.stop_boot_timer()
        if worker.stop_timer is not None:
            worker.stop_timer.cancel()
        worker.stop_timer = self._loop.call_later(self.times.stop_s + STOP_MARGIN_S, self._give_up_leaving, worker)

    def _give_up_leaving(self, worker: Worker) -> None:
        worker.stop_timer = None
        note(
            self._log,
            "warning",
            "worker_stop_timeout",
            worker=worker.slot,
            pid=worker.pid,
            hint="its stop hooks and resources took longer than worker.stop_timeout; it is killed",
        )
        self.kill(worker)

    def kill(self, worker: Worker) -> None:
        """Kill a worker now."""
        worker.step(WorkerEvent.KILL)
        if worker.pid:  # else it is killed when it is there, or given up if that is never said
            worker.stop_boot_timer()
        worker.kill()

    def give_up(self, worker: Worker, event: str, reason: str) -> None:
        """Kill a worker whose memory holds what cannot be: nobody can tell any more which of its tasks had run."""
        self._log.error(event, worker=worker.slot, pid=worker.pid, reason=reason)
        worker.damaged = True
        if worker.state in _TAKES_TASKS_BACK:
            self.kill(worker)

    def _on_ended(self, worker: Worker) -> None:
        """A worker's process has ended; its zygote is about to say so."""
        self._loop.remove_reader(worker.pidfd)
        self._wait_for_report(worker, time.monotonic_ns())

    def _wait_for_report(self, worker: Worker, ended_at_ns: int) -> None:
        left_s = _silence_left_s(worker.zygote, ended_at_ns)
        if left_s > 0:
            worker.end_timer = self._loop.call_later(left_s, self._wait_for_report, worker, ended_at_ns)
            return
        worker.end_timer = None
        self._events.on_zygote_silent(worker.zygote)
        if worker.id in self.workers:
            worker.kill_for_the_zygote()  # what it started
            self.remove(worker, None)

    def lose_all_of(self, zygote: ZygoteLink) -> None:
        """A zygote has died: all its workers die with it, and nobody reports their ends any more.

        First all of them are stopped, then their tasks are settled: a task that comes back from one must not be given
        to another that is about to die.
        """
        lost = [worker for worker in self.workers.values() if worker.zygote is zygote]
        for worker in lost:
            worker.kill_for_the_zygote()
            if worker.state is State.SERVING:
                self._events.on_worker_retiring(worker)
        for worker in lost:
            self.remove(worker, -signal.SIGKILL)

    def remove(self, worker: Worker, status: int | None) -> None:
        """Remove a worker that is gone: its tasks are settled, and everything is given back whatever is raised
        there."""
        try:
            self._events.on_worker_gone(worker, status)
        finally:
            worker.step(WorkerEvent.EXITED)
            del self.workers[worker.id]
            self.unborn.discard(worker.id)
            if worker.pidfd >= 0:
                self._loop.remove_reader(worker.pidfd)
            try:
                self._events.on_worker_removed(worker)
            finally:
                worker.close()

    def close(self) -> None:
        """Give everything back; processes are ended by their zygotes."""
        for worker in self.workers.values():
            if worker.pidfd >= 0:
                self._loop.remove_reader(worker.pidfd)
            worker.close()
        self.workers.clear()


def _tell_to_leave(worker: Worker) -> None:
    worker.cell.condemn(layout.LEAVE)
    doorbell.ring(worker.bell)


def _silence_left_s(zygote: ZygoteLink, since_ns: int) -> float:
    """Seconds until a zygote that was asked for something counts as silent, if nothing is heard of it. It does one
    thing after the other, and before the first of them it may collect the garbage of a large heap."""
    limit_s = SILENCE_S if zygote.has_answered else BOOT_TIMEOUT_S
    return (max(since_ns, zygote.heard_at_ns) - time.monotonic_ns()) / 1e9 + limit_s
