"""One worker process, as the supervisor sees it: the memory shared with it, its descriptors, and how tasks get to it.

Not its life, which is the pool's business, and not which task it gets (``arbd.core.dispatch``).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import ExitStack
from functools import partial
from typing import Final

from arbd.core.dispatch import Assignment
from arbd.core.history import Why
from arbd.core.lifecycle import State, WorkerEvent, step
from arbd.core.recycling import Bounds
from arbd.host import channel, doorbell, memory, parcels, procs
from arbd.host.stack_dump import StackDump
from arbd.ipc import frame, layout
from arbd.ipc.cell import SupervisorCell
from arbd.ipc.ring import Pushed
from arbd.model.trace import trace_id
from arbd.supervisor.zygote_link import ZygoteLink

_GONE_TIMEOUT_S: Final = 1.0  # SIGKILL takes well under a millisecond, unless the kernel is stuck in a driver


class Worker:
    """One worker process and what is shared with it."""

    def __init__(self, worker_id: int, slot: int, zygote: ZygoteLink, ring_bytes: int) -> None:
        description = zygote.description
        self.id = worker_id
        self.slot = slot
        self.zygote = zygote
        self.state = State.STARTING
        self.said_ready = False
        self.booted = False
        self.boot_timer: asyncio.TimerHandle | None = None
        self.end_timer: asyncio.TimerHandle | None = None
        self.stop_timer: asyncio.TimerHandle | None = None
        self.damaged = False  # one of its rings cannot be used
        self.unfit = ""  # why it says that it cannot take tasks
        self.said_leaving = False
        self.is_dismissed = False  # killed as it started, because its slot has gone
        self.replacement_reason: Why | None = None  # while it is being replaced
        self.why: Why | None = None  # why it is replaced
        self.answered = 0  # tasks whose answers were taken
        self.left_unused = False  # it left of its own accord, and had not finished one task
        self.bounds = Bounds(0, 0, 0, 0)
        self.has_hard_limit = True  # it was below worker.memory_limit when it was fresh
        self.unread: list[bytes] = []  # records that were taken from its result ring, and not yet looked at
        self.pid = 0
        self.spawned_at_ns = time.monotonic_ns()
        self.pidfd = -1
        self._inline_limit = layout.largest_record(ring_bytes)
        with ExitStack() as undo:
            self._cell_fd = memory.create(
                "arbd-cell",
                layout.cell_bytes(ring_bytes) + layout.ledger_bytes(len(description.limits), len(description.actions)),
            )
            undo.callback(os.close, self._cell_fd)
            self._mapping = memory.attach(self._cell_fd)
            words = memory.words_of(self._mapping)
            self.cell = SupervisorCell(self._mapping, words, ring_bytes)
            self.seats = words[layout.seat_at(ring_bytes, 0) :]
            self.bell = doorbell.create()
            undo.callback(os.close, self.bell)
            self.answers_bell = doorbell.create()
            undo.callback(os.close, self.answers_bell)
            self.stacks = StackDump()
            undo.callback(self.stacks.close)
            self._side, self._side_theirs = channel.pair()
            self._side.setblocking(False)
            self._bodies = parcels.Receiver(self._side)
            undo.pop_all()

    def handles(self, board_fd: int, results_bell: int, limits_bell: int, metrics_fd: int) -> tuple[int, ...]:
        """The descriptors of ``Spawn``, in order."""
        side, bells = self._side_theirs.fileno(), (limits_bell, self.answers_bell)
        return (self._cell_fd, self.bell, board_fd, results_bell, side, *bells, self.stacks.fd, metrics_fd)

    def handed_over(self) -> None:
        """Close the descriptors of which the process has its own copies now."""
        os.close(self._cell_fd)
        self._cell_fd = -1
        self._side_theirs.close()

    def attach_process(self, pid: int, pidfd: int) -> None:
        """Note the process that has started."""
        self.pid, self.pidfd = pid, pidfd

    def stop_boot_timer(self) -> None:
        """Cancel the boot timeout: it is ready, or being killed."""
        if self.boot_timer is not None:
            self.boot_timer.cancel()
            self.boot_timer = None

    def stop_timers(self) -> None:
        """Cancel every timer: it is gone."""
        self.stop_boot_timer()
        for timer in (self.end_timer, self.stop_timer):
            if timer is not None:
                timer.cancel()
        self.end_timer = self.stop_timer = None

    def step(self, event: WorkerEvent) -> None:
        """Change its state by an event (``arbd.core.lifecycle``)."""
        self.state = step(self.state, event)

    def push(self, assignment: Assignment) -> bool:
        """Put a task into the ring; ``False`` if there is no room for it now, or no descriptor. Raises
        ``RingCorruptError`` if the worker wrote there what cannot be, ``OSError`` if no waiting helps."""
        task = assignment.task
        number = self.zygote.numbers[task.action]
        task_id = task.id.encode("utf-8", "surrogatepass")
        trace = task.traceparent.encode() if task.traceparent and trace_id(task.traceparent) else b""
        size = frame.TASK_HEADER + len(task_id) + 1 + len(trace) + len(task.payload) + len(task.account)
        seq, timeout, payload = assignment.seq, assignment.timeout, task.payload
        if size <= self._inline_limit:
            return self.cell.tasks.push(frame.encode_task(seq, timeout, number, task_id, payload, task.account, trace))
        record = frame.encode_task_reference(seq, timeout, number, task_id, len(payload), trace)
        # If the worker is dead, its exit gives this task to another.
        send_body = partial(parcels.send, self._side, (payload, task.account))
        return self.cell.tasks.push_after(record, send_body) is Pushed.DONE

    def take_parcel(self, limit: int) -> bytes:
        """The body of a result that came by reference. Raises ``parcels.NotNow`` if it cannot be taken now, ``OSError``
        or ``ValueError`` if it did not come."""
        return self._bodies.take(limit)

    def signal_cancel(self) -> None:
        """Signal it to look whether the task it runs was cancelled."""
        if self.pidfd >= 0:
            procs.signal_cancel(self.pidfd)

    def send_signal(self, signum: int) -> None:
        """Send it a signal. Raises ``ProcessLookupError`` if it has ended."""
        signal.pidfd_send_signal(self.pidfd, signum)

    def kill(self) -> None:
        """Send SIGKILL; the zygote reports its end."""
        if self.pidfd >= 0:
            procs.kill(self.pidfd)

    def wait_gone(self, timeout_s: float = _GONE_TIMEOUT_S) -> None:
        """Wait, after ``kill``, until it runs no more and can publish nothing; at most ``timeout_s`` seconds."""
        if self.pidfd >= 0:
            procs.wait_gone(self.pidfd, timeout_s)

    def kill_for_the_zygote(self) -> None:
        """Kill it and what it started, and wait until it is gone: its zygote is not there to do it."""
        if self.pidfd >= 0:
            self.kill()
            self.wait_gone()
            procs.kill_group(self.pid)

    def close(self) -> None:
        """Close every descriptor; the process is gone, or will see its ends closed."""
        self.stop_timers()
        for fd in (self._cell_fd, self.bell, self.answers_bell, self.pidfd):
            if fd >= 0:
                os.close(fd)
        self.stacks.close()
        self._side.close()
        self._side_theirs.close()
