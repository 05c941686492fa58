"""The worker processes: their memory, their life, and the way tasks get to them.

Not dispatch: which worker gets a task is decided in ``arbd.core.dispatch``. The pool keeps as many workers as there are
slots; a slot is a place (a CPU), a worker id is one process, never used twice.

    spawn ─> STARTING ──READY record──> SERVING ──exit──> replaced at once
                 └──exit before ready──> replaced after a pause; too often: the daemon stops

A reload starts the new generation's workers beside the old ones, which leave once the first new one is ready: from that
moment the new actions are in force, and no worker that does not have them gets a task.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from arbd.core import frame, layout
from arbd.core import zygote_protocol as protocol
from arbd.core.cell import SupervisorCell
from arbd.core.dispatch import Assignment
from arbd.core.lifecycle import Event, State, step
from arbd.core.restarts import Restarts
from arbd.core.trace import trace_id
from arbd.host import channel, doorbell, memory, parcels, procs
from arbd.host.fence import make_fence
from arbd.logs import get_logger
from arbd.supervisor.limits import Limits
from arbd.supervisor.zygote_link import ZygoteLink

BOOT_TIMEOUT_S: Final = 60.0  # a worker started by exec imports the author's module again
_GONE_TIMEOUT_S: Final = 1.0  # SIGKILL takes well under a millisecond, unless the kernel is stuck in a driver


class Worker:
    """One worker process and what is shared with it."""

    def __init__(self, worker_id: int, slot: int, zygote: ZygoteLink, ring_bytes: int) -> None:
        description = zygote.description
        self.id = worker_id
        self.slot = slot
        self.zygote = zygote
        self.state = State.STARTING
        self.booted = False
        self.boot_timer: asyncio.TimerHandle | None = None
        self.damaged = False  # one of its rings cannot be used
        self.pid = 0
        self.spawned_at_ns = time.monotonic_ns()
        self._pidfd = -1
        self._cell_fd = memory.create(
            "arbd-cell",
            layout.cell_bytes(ring_bytes) + layout.ledger_bytes(len(description.limits), len(description.actions)),
        )
        self._mapping = memory.attach(self._cell_fd)
        words = memory.words_of(self._mapping)
        self.cell = SupervisorCell(self._mapping, words, ring_bytes)
        self.seats = words[layout.seat_at(ring_bytes, 0) :]
        self._inline_limit = layout.largest_record(ring_bytes)
        self.bell = doorbell.create()
        self.answers_bell = doorbell.create()
        self._side, self._side_theirs = channel.pair()
        self._side.setblocking(False)

    def handles(self, board_fd: int, results_bell: int, limits_bell: int) -> tuple[int, ...]:
        """The descriptors of ``Spawn``, in order."""
        side = self._side_theirs.fileno()
        return (self._cell_fd, self.bell, board_fd, results_bell, side, limits_bell, self.answers_bell)

    def handed_over(self) -> None:
        """The process has its own copies now."""
        os.close(self._cell_fd)
        self._cell_fd = -1
        self._side_theirs.close()

    def attach_process(self, pid: int, pidfd: int) -> None:
        """The process exists."""
        self.pid, self._pidfd = pid, pidfd

    def stop_boot_timer(self) -> None:
        """It is ready, or being killed."""
        if self.boot_timer is not None:
            self.boot_timer.cancel()
            self.boot_timer = None

    def step(self, event: Event) -> None:
        """Move on in life; see ``arbd.core.lifecycle``."""
        self.state = step(self.state, event)

    def push(self, assignment: Assignment, number: int) -> bool:
        """Put a task into the ring; ``False`` if there is no room for it now."""
        task = assignment.task
        task_id = task.id.encode("utf-8", "surrogatepass")
        trace = task.traceparent.encode() if task.traceparent and trace_id(task.traceparent) else b""
        size = frame.TASK_HEADER + len(task_id) + 1 + len(trace) + len(task.payload) + len(task.account)
        seq, timeout, payload = assignment.seq, assignment.timeout, task.payload
        if size <= self._inline_limit:
            return self.cell.tasks.push(frame.encode_task(seq, timeout, number, task_id, payload, task.account, trace))
        record = frame.encode_task_reference(seq, timeout, number, task_id, len(payload), trace)
        return self._push_parcel(record, (payload, task.account))

    def _push_parcel(self, record: bytes, body: tuple[bytes, ...]) -> bool:
        if not self.cell.tasks.has_room(len(record)):
            return False
        # If the worker is dead, its exit gives this task to another.
        return parcels.send(self._side, body) and self.cell.tasks.push(record)

    def take_parcel(self, limit: int) -> bytes:
        """The body of a result that came by reference. Raises ``OSError`` or ``ValueError`` if it did not come."""
        return parcels.take(self._side, limit)

    def signal_cancel(self) -> None:
        """Have it look whether the task it runs was cancelled."""
        if self._pidfd >= 0:
            procs.signal_cancel(self._pidfd)

    def kill(self) -> None:
        """SIGKILL; the exit is reported by the zygote."""
        if self._pidfd >= 0:
            procs.kill(self._pidfd)

    def kill_for_the_zygote(self) -> None:
        """The same, with what it started, and return when it is gone: its zygote is no longer there to do it."""
        if self._pidfd >= 0:
            procs.kill(self._pidfd)
            procs.wait_gone(self._pidfd, _GONE_TIMEOUT_S)
            procs.kill_group(self.pid)

    def close(self) -> None:
        """Give back everything; the process is gone, or will see its ends closed."""
        self.stop_boot_timer()
        for fd in (self._cell_fd, self.bell, self.answers_bell, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._side.close()
        self._side_theirs.close()


class PoolEvents(Protocol):
    """What the pool tells its owner."""

    def on_worker_ready(self, worker: Worker) -> None:
        """It takes tasks now."""

    def on_worker_retiring(self, worker: Worker) -> None:
        """It gets no more tasks: a newer one is there, or it is dying."""

    def on_worker_gone(self, worker: Worker, status: int) -> None:
        """It ended: exit code, or minus a signal number. Its memory can still be read."""

    def on_cannot_boot(self) -> None:
        """Workers end before they are ready, every time: the daemon must stop."""


class Pool:
    """All workers of the daemon. ``cpus``: the CPU of each slot, ``None`` where it is not pinned."""

    def __init__(self, cpus: Sequence[int | None], ring_bytes: int, results_bell: int, limits: Limits) -> None:
        self._cpus = cpus
        self._limits = limits
        self._ring_bytes = ring_bytes
        self._results_bell = results_bell
        self._restarts = Restarts()
        self._log = get_logger("arbd.pool")
        self._next_id = 1
        self._closing = False
        self._fence = make_fence()
        self._loop = asyncio.get_running_loop()
        self._board_fd = memory.create("arbd-board", layout.board_bytes(len(cpus)))
        self._board_mapping = memory.attach(self._board_fd)
        self.board = memory.words_of(self._board_mapping)
        self._news = self.board[layout.NEWS :: layout.LINE]  # one word of each slot's line
        self._news_seen = self._news.tolist()
        self.workers: dict[int, Worker] = {}
        self._of_slot: list[list[Worker]] = [[] for _ in cpus]  # more than one during a reload
        self.zygote: ZygoteLink
        self._events: PoolEvents

    # -- start, replace, retire ------------------------------------------------------------------------

    def start(self, events: PoolEvents) -> None:
        """Whom to tell; there are no workers before ``move_to``."""
        self._events = events

    def cpu_of(self, worker: Worker) -> int | None:
        """The CPU it is pinned to; ``None``: it is not."""
        return self._cpus[worker.slot]

    def move_to(self, zygote: ZygoteLink) -> None:
        """Start a worker of this zygote in every slot. Once the first of them is ready, all older workers leave."""
        self.zygote = zygote
        for slot in range(len(self._cpus)):
            self._spawn(slot)

    def _spawn(self, slot: int) -> None:
        worker = Worker(self._next_id, slot, self.zygote, self._ring_bytes)
        self._next_id += 1
        self.workers[worker.id] = worker
        self._of_slot[slot].append(worker)
        self._limits.attach(worker.id, self.zygote.description, worker.seats, worker.answers_bell, worker.bell)
        spawn = protocol.Spawn(worker.id, slot, self._cpus[slot])
        self.zygote.spawn(spawn, worker.handles(self._board_fd, self._results_bell, self._limits.bell))
        worker.handed_over()
        worker.boot_timer = self._loop.call_later(BOOT_TIMEOUT_S, self._give_up_booting, worker)

    def _spawn_if_needed(self, slot: int) -> None:
        has_successor = any(
            worker.slot == slot and worker.zygote is self.zygote and worker.state in (State.STARTING, State.SERVING)
            for worker in self.workers.values()
        )
        if not self._closing and not has_successor and not self.zygote.lost:
            self._spawn(slot)

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
                worker.step(Event.RETIRE)
                self._events.on_worker_retiring(worker)
                worker.cell.condemn(layout.LEAVE)
                doorbell.ring(worker.bell)
            elif worker.state is State.STARTING:
                self.kill(worker)

    def move_back(self, zygote: ZygoteLink) -> None:
        """The workers of the newest generation cannot boot: the one before goes on."""
        self.zygote = zygote
        self._restarts.booted()  # the failures were the other one's

    def kill(self, worker: Worker) -> None:
        """End a worker now."""
        worker.step(Event.KILL)
        worker.stop_boot_timer()
        worker.kill()

    def give_up(self, worker: Worker, event: str, reason: str) -> None:
        """Its memory holds what cannot be: end it, and nobody can tell any more which of its tasks had run."""
        self._log.error(event, worker=worker.slot, pid=worker.pid, reason=reason)
        worker.damaged = True
        if worker.state in (State.STARTING, State.SERVING, State.RETIRING):
            self.kill(worker)

    # -- what the zygote and the rings say -------------------------------------------------------------

    def on_spawned(self, worker_id: int, pid: int, pidfd: int) -> None:
        """The zygote has forked it."""
        worker = self.workers.get(worker_id)
        if worker is None:
            os.close(pidfd)
            return
        worker.attach_process(pid, pidfd)
        if worker.state is State.CONDEMNED:
            worker.kill()

    def on_ready(self, worker: Worker) -> None:
        """Its first record has come."""
        worker.step(Event.READY)
        worker.stop_boot_timer()
        if worker.state is State.SERVING:
            worker.booted = True
            self._restarts.booted()
            self._log.debug("worker_ready", worker=worker.slot, pid=worker.pid, cpu=self._cpus[worker.slot])
            self._retire_older(worker.zygote)
            self._events.on_worker_ready(worker)

    def on_exited(self, worker_id: int, status: int) -> None:
        """The zygote has reaped it: let its owner settle, then replace it."""
        worker = self.workers.get(worker_id)
        if worker is None:
            return
        self._bury(worker, status)
        if worker.booted or worker.zygote is not self.zygote:
            self._spawn_if_needed(worker.slot)
        elif not self._closing:
            self._retry_boot(worker, status)

    def on_zygote_lost(self, zygote: ZygoteLink) -> None:
        """All its workers are dying with it, and nobody reports their ends any more.

        First all of them are stopped, then their tasks are settled: a task that comes back from one must not be given
        to another that is about to die.
        """
        lost = [worker for worker in self.workers.values() if worker.zygote is zygote]
        for worker in lost:
            worker.kill_for_the_zygote()
            if worker.state is State.SERVING:
                self._events.on_worker_retiring(worker)
        for worker in lost:
            self._bury(worker, -signal.SIGKILL)

    def _bury(self, worker: Worker, status: int) -> None:
        self._events.on_worker_gone(worker, status)
        worker.step(Event.EXITED)
        del self.workers[worker.id]
        self._of_slot[worker.slot].remove(worker)
        self._limits.detach(worker.id)
        worker.close()

    def _retry_boot(self, worker: Worker, status: int) -> None:
        pause = self._restarts.boot_failed()
        self._log.error("worker_cannot_boot", worker=worker.slot, status=status, retry_in=pause)
        if pause is None:
            self._events.on_cannot_boot()
        else:
            self._loop.call_later(pause, self._spawn_if_needed, worker.slot)

    def is_complete(self) -> bool:
        """Whether every slot has a worker that serves. Its own word may come before the zygote's, with its number."""
        serving = {worker.slot for worker in self.workers.values() if worker.state is State.SERVING and worker.pid}
        return len(serving) == len(self._cpus)

    # -- tasks -----------------------------------------------------------------------------------------

    def send(self, worker_id: int, assignment: Assignment) -> bool:
        """Put a task into a worker's ring; ``False`` if the ring has no room. ``wake`` must follow.

        Raises ``RingCorruptError`` if the worker wrote there what cannot be.
        """
        worker = self.workers[worker_id]
        return worker.push(assignment, worker.zygote.numbers[assignment.task.action])

    def wake(self, worker_ids: Iterable[int]) -> None:
        """Wake those of these workers that sleep, after all their tasks have been sent.

        Not after each task: on a busy machine a worker that is woken runs at once, in place of the supervisor, and
        would find one task and go to sleep again. Measured with batches of 28: a third of the supervisor's time.
        """
        self._fence()
        for worker_id in worker_ids:
            worker = self.workers[worker_id]
            if worker.cell.worker_sleeps():
                doorbell.ring(worker.bell)

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
        """From now on a worker that ends stays away."""
        self._closing = True

    def close(self) -> None:
        """Give everything back; the zygotes are closed by their owner."""
        self._closing = True
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()
        self._of_slot.clear()
        self._news.release()
        self.board.release()
        self._board_mapping.close()
        os.close(self._board_fd)
