"""The worker processes: their memory, and their life from spawn to replacement.

Not dispatch: which worker gets a task is decided in ``arbd.core.dispatch``; and not their tasks, which are
``arbd.supervisor.flow``'s. The pool keeps as many workers as there are
slots; a slot is a place (a CPU), a worker id is one process, never used twice.

    wanted ─> spawn ─> STARTING ──READY record──> SERVING ──exit──> replaced at once
                 │         └──exit before ready──> replaced after a pause; too often: the daemon stops
                 └──no descriptor, memory or process to be had──> the same

Not all at once: so many messages to the zygote, with so many descriptors in them, are more than a socket holds.

A reload starts the new generation's workers beside the old ones, which leave once the first new one is ready: from that
moment the new actions are in force, and no worker that does not have them gets a task.

The zygote reports who ended. The pool sees it, too, by the worker's pidfd: a zygote that does not say so for
``SILENCE_S``, or does not answer a request for that long, is stopped or hangs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final, Protocol

from arbd.core.lifecycle import State, WorkerEvent
from arbd.core.placement import in_words
from arbd.core.restarts import Restarts
from arbd.errors import ConfigError
from arbd.host import doorbell, memory, procs
from arbd.host.fence import make_fence
from arbd.ipc import layout
from arbd.ipc import zygote_protocol as protocol
from arbd.logs import get_logger
from arbd.supervisor.limits.limits import DaemonLimits
from arbd.supervisor.worker import Worker
from arbd.supervisor.zygote_link import ZygoteLink

BOOT_TIMEOUT_S: Final = 60.0  # a worker started by exec imports the author's module again
SILENCE_S: Final = 5.0  # a fork takes milliseconds, a second where the zygote holds very much memory
_MOST_UNBORN: Final = 16  # workers asked for, and not yet there: 7 descriptors each, and a socket takes about 278


class PoolEvents(Protocol):
    """What the pool tells its owner."""

    def on_worker_ready(self, worker: Worker) -> None:
        """A worker takes tasks now."""

    def on_worker_retiring(self, worker: Worker) -> None:
        """A worker gets no more tasks: a newer one is there, or it is dying."""

    def on_worker_gone(self, worker: Worker, status: int | None) -> None:
        """A worker ended: exit code, or minus a signal number; ``None``: nobody can tell. Its memory can still be
        read."""

    def on_cannot_boot(self, by_machine: bool) -> None:
        """Workers end before they are ready, every time, and none serves: the daemon must stop. ``by_machine``: there
        was no process, descriptor or memory to be had."""

    def on_zygote_silent(self, zygote: ZygoteLink) -> None:
        """A zygote is stopped, or hangs: it neither starts workers nor says who ended."""


class _Nobody:
    """The owner of a pool that has none yet, and no workers: hears nothing."""

    def on_worker_ready(self, worker: Worker) -> None:
        pass

    def on_worker_retiring(self, worker: Worker) -> None:
        pass

    def on_worker_gone(self, worker: Worker, status: int | None) -> None:
        pass

    def on_cannot_boot(self, by_machine: bool) -> None:
        pass

    def on_zygote_silent(self, zygote: ZygoteLink) -> None:
        pass


class Pool:
    """All workers of the daemon. ``cpus``: those of each slot, none where it is not pinned. ``zygote``: the one
    that the first workers will come from."""

    def __init__(
        self, cpus: Sequence[tuple[int, ...]], ring_bytes: int, limits: DaemonLimits, zygote: ZygoteLink
    ) -> None:
        self._cpus = cpus
        self.limits = limits
        self._ring_bytes = ring_bytes
        self._restarts = Restarts()
        self._log = get_logger("arbd.pool")
        self._next_id = 1
        self._closing = False
        self.fence = make_fence()
        self.bell = doorbell.create(blocking=False)  # who has something for the supervisor rings it
        self._loop = asyncio.get_running_loop()
        self._board_fd = memory.create("arbd-board", layout.board_bytes(len(cpus)))
        self._board_mapping = memory.attach(self._board_fd)
        self.board = memory.words_of(self._board_mapping)
        self._news = self.board[layout.NEWS :: layout.LINE]  # one word of each slot's line
        self._news_seen = self._news.tolist()
        self.workers: dict[int, Worker] = {}
        self._of_slot: list[list[Worker]] = [[] for _ in cpus]  # more than one during a reload
        self._wanted: dict[int, None] = {}  # slots for which a worker is to be started, in that order
        self._unborn: set[int] = set()  # workers that the zygote was asked for
        self._machine_pause: asyncio.TimerHandle | None = None  # while it runs, none is asked for
        self.zygote = zygote
        self._events: PoolEvents = _Nobody()

    # -- start, replace, retire ------------------------------------------------------------------------

    def start(self, events: PoolEvents) -> None:
        """Whom to tell; there are no workers before ``move_to``."""
        self._events = events

    def cpus_of(self, worker: Worker) -> tuple[int, ...]:
        """The CPUs that a worker is pinned to; none: it is not."""
        return self._cpus[worker.slot]

    def serves(self) -> bool:
        """Whether any worker runs tasks, now or in a moment."""
        return any(worker.state in (State.SERVING, State.RETIRING) for worker in self.workers.values())

    def _newest_serves(self) -> bool:
        """Whether any worker of the newest generation does."""
        return any(worker.zygote is self.zygote and worker.state is State.SERVING for worker in self.workers.values())

    def move_to(self, zygote: ZygoteLink) -> None:
        """Start a worker of this zygote in every slot. Once the first of them is ready, all older workers leave.

        Raises ``ConfigError`` if its limits cannot be had; then nothing has changed.
        """
        before, wanted = self.zygote, self._wanted
        self.zygote = zygote
        self._wanted = dict.fromkeys(range(len(self._cpus)))
        try:
            self._spawn_wanted(must_have_limits=True)
        except ConfigError:
            self.zygote, self._wanted = before, wanted
            raise

    def _want(self, slot: int) -> None:
        """Have a worker started in this slot, unless there is one, as soon as there may be."""
        self._wanted[slot] = None
        self._spawn_wanted()

    def _spawn_wanted(self, *, must_have_limits: bool = False) -> None:
        while self._wanted and self._may_spawn():
            slot = next(iter(self._wanted))
            del self._wanted[slot]
            if self._has_successor(slot):
                continue
            try:
                self._spawn(slot)
            except ConfigError as error:
                if must_have_limits:
                    raise
                self._machine_failed(slot, str(error))  # they could be had when this generation came
            except OSError as error:
                self._machine_failed(slot, str(error))

    def _may_spawn(self) -> bool:
        free = len(self._unborn) < _MOST_UNBORN
        return free and self.zygote.answers and self._machine_pause is None and not self._closing

    def _has_successor(self, slot: int) -> bool:
        return any(
            worker.zygote is self.zygote and worker.state in (State.STARTING, State.SERVING)
            for worker in self._of_slot[slot]
        )

    def _spawn(self, slot: int) -> None:
        """Ask for a worker. Raises ``OSError`` or ``ConfigError``; then there is nothing of it."""
        worker = Worker(self._next_id, slot, self.zygote, self._ring_bytes)
        self._next_id += 1
        with ExitStack() as undo:
            undo.callback(worker.close)
            self.limits.attach(worker.id, self.zygote.description, worker.seats, worker.answers_bell, worker.bell)
            undo.callback(self.limits.detach, worker.id)
            spawn = protocol.Spawn(worker.id, slot, self._cpus[slot])
            self.zygote.spawn(spawn, worker.handles(self._board_fd, self.bell, self.limits.bell))
            undo.pop_all()
        worker.handed_over()
        self.workers[worker.id] = worker
        self._of_slot[slot].append(worker)
        self._unborn.add(worker.id)
        self._wait_for_birth(worker)

    def _wait_for_birth(self, worker: Worker) -> None:
        left_s = self._silence_left_s(worker.zygote, worker.spawned_at_ns)
        if left_s > 0:
            worker.boot_timer = self._loop.call_later(left_s, self._wait_for_birth, worker)
            return
        worker.boot_timer = None
        self._events.on_zygote_silent(worker.zygote)
        unborn = [other for each in self._unborn if (other := self.workers[each]).zygote is worker.zygote]
        for other in unborn:
            other.cell.condemn(layout.STOP)  # it may be there, and nobody has said so
        self.fence()
        for other in unborn:
            self._remove(other, None)  # should it come to be all the same, it is killed at once
        self._spawn_wanted()

    def _silence_left_s(self, zygote: ZygoteLink, since_ns: int) -> float:
        """Seconds until a zygote that was asked for something counts as silent, if nothing is heard of it. It does one
        thing after the other, and before the first of them it may collect the garbage of a large heap."""
        limit_s = SILENCE_S if zygote.has_answered else BOOT_TIMEOUT_S
        return (max(since_ns, zygote.heard_at_ns) - time.monotonic_ns()) / 1e9 + limit_s

    def _give_up_booting(self, worker: Worker) -> None:
        self._log.error("worker_boot_timeout", worker=worker.slot, seconds=BOOT_TIMEOUT_S)
        self.kill(worker)

    def _retire_older(self, newest: ZygoteLink) -> None:
        if newest is not self.zygote:
            return
        for worker in list(self.workers.values()):
            if worker.zygote is newest:
                continue
            if worker.state is State.SERVING:
                worker.step(WorkerEvent.RETIRE)
                self._events.on_worker_retiring(worker)
                worker.cell.condemn(layout.LEAVE)
                doorbell.ring(worker.bell)
            elif worker.state is State.STARTING:
                self.kill(worker)

    def move_back(self, zygote: ZygoteLink) -> None:
        """Go back to the generation before, because workers of the newest cannot boot."""
        self.zygote = zygote
        self._wanted.clear()
        self._restarts.succeeded()  # the failures were the other one's
        for worker in list(self.workers.values()):
            if worker.zygote is not zygote and worker.state is State.STARTING:
                self.kill(worker)
        for slot in range(len(self._cpus)):
            self._want(slot)

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
        if worker.state in (State.STARTING, State.SERVING, State.RETIRING):
            self.kill(worker)

    # -- what the zygote and the rings say -------------------------------------------------------------

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
        self._unborn.discard(worker_id)
        if worker.boot_timer is not None:
            worker.boot_timer.cancel()
            worker.boot_timer = self._loop.call_later(BOOT_TIMEOUT_S, self._give_up_booting, worker)
        if worker.state is State.CONDEMNED:
            worker.stop_boot_timer()
            worker.kill()
        elif worker.said_ready:
            self.on_ready(worker)
        self._spawn_wanted()

    def _on_ended(self, worker: Worker) -> None:
        """A worker's process has ended; its zygote is about to say so."""
        self._loop.remove_reader(worker.pidfd)
        self._wait_for_report(worker, time.monotonic_ns())

    def _wait_for_report(self, worker: Worker, ended_at_ns: int) -> None:
        left_s = self._silence_left_s(worker.zygote, ended_at_ns)
        if left_s > 0:
            worker.end_timer = self._loop.call_later(left_s, self._wait_for_report, worker, ended_at_ns)
            return
        worker.end_timer = None
        self._events.on_zygote_silent(worker.zygote)
        if worker.id in self.workers:
            worker.kill_for_the_zygote()  # what it started
            self._remove(worker, None)
        self._spawn_wanted()

    def on_ready(self, worker: Worker) -> None:
        """A worker's first record has come: it can take tasks, once its zygote has told of it. Until then nobody could
        kill it at a deadline, and the zygote may be about to give it up."""
        worker.said_ready = True
        if not worker.pid:
            return
        worker.step(WorkerEvent.READY)
        worker.stop_boot_timer()
        if worker.state is State.SERVING:
            worker.booted = True
            self._restarts.succeeded()
            self._log.debug("worker_ready", worker=worker.slot, pid=worker.pid, cpus=in_words(self._cpus[worker.slot]))
            self._retire_older(worker.zygote)
            self._events.on_worker_ready(worker)

    def on_exited(self, worker_id: int, status: int, reason: str = "") -> None:
        """The zygote has reaped a worker: its tasks are settled, and it is replaced. ``reason``: it could not be
        started."""
        worker = self.workers.get(worker_id)
        if worker is None:
            return
        self._remove(worker, status)
        if worker.booted or worker.zygote is not self.zygote:
            self._want(worker.slot)
        elif reason:
            self._machine_failed(worker.slot, reason)
        else:
            self._boot_failed(worker.slot, status)
        self._spawn_wanted()

    def on_zygote_lost(self, zygote: ZygoteLink) -> None:
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
            self._remove(worker, -signal.SIGKILL)
        self._spawn_wanted()

    def _remove(self, worker: Worker, status: int | None) -> None:
        """Remove a worker that is gone: its tasks are settled, and everything is given back whatever is raised
        there."""
        try:
            self._events.on_worker_gone(worker, status)
        finally:
            worker.step(WorkerEvent.EXITED)
            del self.workers[worker.id]
            self._of_slot[worker.slot].remove(worker)
            self._unborn.discard(worker.id)
            if worker.pidfd >= 0:
                self._loop.remove_reader(worker.pidfd)
            try:
                self.limits.detach(worker.id)
            finally:
                worker.close()

    def _boot_failed(self, slot: int, status: int) -> None:
        """A process of this slot ended before it was ready."""
        if self._closing:
            return
        pause = self._restarts.failed(by_machine=False, others_serve=self._newest_serves())
        self._log.error("worker_cannot_boot", worker=slot, status=status, retry_in=pause)
        if pause is None:
            self._events.on_cannot_boot(by_machine=False)
        else:
            self._loop.call_later(pause, self._want, slot)

    def _machine_failed(self, slot: int, reason: str) -> None:
        """There was no process, descriptor or memory for a worker; so there is none for another at this moment."""
        self._wanted[slot] = None
        if self._closing or self._machine_pause is not None:
            return
        pause = self._restarts.failed(by_machine=True, others_serve=self._newest_serves())
        self._log.error("worker_not_started", worker=slot, reason=reason, retry_in=pause)
        if pause is None:
            self._wanted.clear()
            self._events.on_cannot_boot(by_machine=True)
        else:
            self._machine_pause = self._loop.call_later(pause, self._end_machine_pause)

    def _end_machine_pause(self) -> None:
        self._machine_pause = None
        for slot in list(self._wanted)[:1]:
            self._want(slot)

    def is_complete(self) -> bool:
        """Whether every slot has a worker that serves."""
        serving = {worker.slot for worker in self.workers.values() if worker.state is State.SERVING}
        return len(serving) == len(self._cpus)

    # -- news -----------------------------------------------------------------------------------------

    def with_news(self) -> list[Worker]:
        """The workers that may have published something since this was asked last.

        Not all workers: looking into 64 rings that are empty takes 8 µs, and from cold caches three times that, after
        each answer of any of them. Here that is one comparison, 0.3 µs.
        """
        news, seen = self._news.tolist(), self._news_seen
        if news == seen:
            return []
        self._news_seen = news
        found: list[Worker] = []
        for slot, workers in enumerate(self._of_slot):
            if news[slot] != seen[slot]:
                found += workers
        return found

    # -- the end ---------------------------------------------------------------------------------------

    def stop_replacing(self) -> None:
        """Replace no worker any more."""
        self._closing = True

    def close(self) -> None:
        """Give everything back; the zygotes are closed by their owner."""
        self._closing = True
        if self._machine_pause is not None:
            self._machine_pause.cancel()
        for worker in self.workers.values():
            if worker.pidfd >= 0:
                self._loop.remove_reader(worker.pidfd)
            worker.close()
        self.workers.clear()
        self._of_slot.clear()
        self._news.release()
        self.board.release()
        self._board_mapping.close()
        os.close(self._board_fd)
        os.close(self.bell)
