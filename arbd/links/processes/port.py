"""The ``HubPort`` of the link in a link process: the supervisor, behind two rings.

    take ──> ring up; at the end of this turn of the loop: acknowledgements, figures, fence, one ring of the bell

Not the link, which is the same as in a supervisor without link processes, and not what comes down: that is the
``listener``'s business. Invariants:

* a task is counted against what is allowed from the moment it is pushed, or waits here for room in the ring;
* nothing of a task's is pushed twice, and ``STOPPED`` comes after the last task of a poll;
* what the hub says of the token is in shared memory before the link makes its next call.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from arbd.core.outbox import MemoryOutbox
from arbd.errors import InvariantError
from arbd.host import doorbell
from arbd.host.fence import make_fence
from arbd.ipc import link_frame
from arbd.ipc.link_cell import NEVER, LinkEnd
from arbd.ipc.ring import Pushed
from arbd.links.base import LinkProcesses
from arbd.links.options import LinkOptions
from arbd.links.pace import TokenGate
from arbd.links.processes.records import push
from arbd.model.description import ActionInfo
from arbd.model.link_stats import COUNTERS, STATES, LinkStats
from arbd.model.task import Outcome, Task
from arbd.supervised import report

_RING_FULL_PAUSE_S: Final = 0.001  # the supervisor empties rings many times faster; waiting here is rare
_NO_PARCEL_PAUSE_S: Final = 0.05  # at most; for want of a descriptor or memory, and each try makes a memfd of a task


class AckingOutbox(MemoryOutbox):
    """The outbox of a link process; ``ack`` also goes to the supervisor's."""

    def __init__(self, on_ack: Callable[[int], None]) -> None:
        super().__init__()
        self._on_ack = on_ack

    def ack(self, outcome: Outcome, now: float) -> None:
        super().ack(outcome, now)
        assert isinstance(outcome, link_frame.NumberedOutcome)
        self._on_ack(outcome.number)


class SharedGate(TokenGate):
    """A token gate that the supervisor may close as well, and that tells it what the hub says of the token."""

    def __init__(self, cell: LinkEnd, interval_s: float, tell: Callable[[], None]) -> None:
        super().__init__(interval_s)
        self._cell = cell
        self._tell = tell
        self._accepted = 0
        self._refused = 0
        self._is_trusted = False

    def start_at(self, now: float) -> float:
        return math.inf if self._cell.is_held else super().start_at(now)

    def refused(self, now: float) -> None:
        super().refused(now)
        self._refused += 1
        self._report(trusted=False)

    def passed(self, started_at: float) -> None:
        super().passed(started_at)
        if not self._is_trusted and not self.closed:
            self._accepted += 1
            self._report(trusted=True)

    def reopen(self) -> None:
        """The supervisor lets this link call again: the hub has accepted the token of another."""
        self.closed = False

    def _report(self, trusted: bool) -> None:
        self._is_trusted = trusted
        self._cell.report_token(self._accepted, self._refused)
        self._tell()


class RingPort:
    """A ``HubPort`` over a link cell. ``gate``, ``stats``: for the link that this port is for, which uses both.

    ``supervisors_bell``: what is rung. Of the options: the most calls that the link has under way, so that many slots
    never keep it back.
    """

    actions: Sequence[ActionInfo] = ()

    def __init__(self, cell: LinkEnd, supervisors_bell: int, side: socket.socket, options: LinkOptions) -> None:
        self.outbox = AckingOutbox(self._on_ack)
        self.gate = SharedGate(cell, options.refused_interval_s, self.flush_soon)
        self.stats = LinkStats(protocol="unary")
        self._cell = cell
        self._supervisors_bell = supervisors_bell
        self._side = side
        self._max_polls = options.max_polls
        self._fence = make_fence()
        self._loop = asyncio.get_running_loop()
        self._taken = 0
        self._waiting: deque[link_frame.Encoded] = deque()  # no room in the ring
        self._acks: list[int] = []
        self._flush_is_due = False
        self._pause_s = _RING_FULL_PAUSE_S
        self._is_drained: asyncio.Event | None = None  # somebody waits until nothing waits here

    def free_slots(self) -> int:
        cell = self._cell
        slots = cell.allowed - self._taken
        if slots < self._max_polls:  # it may stop for want of them
            cell.ring_above(slots + self._taken)
            self._fence()
            slots = cell.allowed - self._taken
        else:
            cell.ring_above(NEVER)
        return max(0, slots)

    def take(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self._taken += 1
            try:
                encoded = link_frame.encode_task(task, self._cell.longest)
                if self._waiting or not self._push(encoded):
                    self._waiting.append(encoded)
            except Exception as error:  # the others go up all the same
                report(error, "a task on its way to the supervisor")
        self.flush_soon()

    def note_lease(self, lease_s: float) -> None:
        self.say(link_frame.encode_lease(lease_s))

    def cancel(self, task_ids: Sequence[str]) -> None:
        pass  # the unary protocol has no cancels

    def join(self, processes: LinkProcesses) -> int:
        raise InvariantError("a link process has no link processes")

    def leave(self, processes: LinkProcesses) -> None:
        raise InvariantError("a link process has no link processes")

    def _push(self, encoded: link_frame.Encoded) -> bool:
        pushed = push(self._cell.up, self._side, encoded)
        longer = pushed is Pushed.LATER
        self._pause_s = min(_NO_PARCEL_PAUSE_S, 2 * self._pause_s) if longer else _RING_FULL_PAUSE_S
        return pushed is Pushed.DONE

    def _on_ack(self, number: int) -> None:
        self._acks.append(number)
        self.flush_soon()

    def say(self, record: bytes) -> None:
        """Have a record go up, after the tasks that wait."""
        self._waiting.append(link_frame.Encoded(record, None))
        self.flush_soon()

    def report_figures(self) -> None:
        """Publish what the link has counted; nobody is rung for that."""
        counters = [getattr(self.stats, name) for name in COUNTERS]
        self._cell.report(STATES.index(self.stats.state), counters)

    def flush_soon(self) -> None:
        """Tell the supervisor what there is, once at the end of this turn of the loop: many calls may be answered in
        one."""
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        while self._waiting and self._push(self._waiting[0]):
            self._waiting.popleft()
        if not self._push_acks() or self._waiting:
            self._flush_is_due = True
            self._loop.call_later(self._pause_s, self._flush)
        elif self._is_drained is not None:
            self._is_drained.set()
        self.report_figures()
        self._fence()
        if self._cell.must_ring():
            doorbell.ring(self._supervisors_bell)

    def _push_acks(self) -> bool:
        most = link_frame.most_acks(self._cell.longest)
        while self._acks:
            record = link_frame.encode_acks(self._acks[:most])
            if not self._push(link_frame.Encoded(record, None)):
                return False
            del self._acks[:most]
        return True

    async def drain(self, timeout: float) -> None:
        """Have everything that is to go up in the ring, at most ``timeout`` seconds."""
        self._is_drained = asyncio.Event()
        self.flush_soon()
        try:
            async with asyncio.timeout(timeout):
                await self._is_drained.wait()
        except TimeoutError:
            pass
