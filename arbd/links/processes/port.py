"""The ``HubPort`` of the link in a link process: the supervisor, behind two rings.

    take ──> ring up; at the end of this turn of the loop: acknowledgements, fence, one ring of the bell
    doorbell ─> ring down ──> outbox ──> link.results_ready(); link.slots_changed()
             └> held? stopping? flushing?

While it has several results on their way, it does not say that it sleeps, but rests (``arbd.core.doze``): it looks
again by itself, and the supervisor need not ring.

Not the link, which is the same as in a supervisor without link processes. Invariants:

* a task is counted against what is allowed from the moment it is pushed, or waits here for room in the ring;
* nothing of a task's is pushed twice, and ``STOPPED`` comes after the last task of a poll;
* what the hub says of the token is in shared memory before the link makes its next call.
"""

from __future__ import annotations

import asyncio
import math
import socket
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from arbd.core import doze
from arbd.core.outbox import MemoryOutbox
from arbd.errors import InvariantError
from arbd.host import doorbell, parcels
from arbd.host.fence import make_fence
from arbd.ipc import link_frame
from arbd.ipc.link_cell import NEVER, LinkEnd
from arbd.ipc.ring import Pushed
from arbd.links.base import HubLink, LinkProcesses
from arbd.links.pace import TokenGate
from arbd.links.processes.records import Incoming, push
from arbd.model.description import ActionInfo
from arbd.model.link_stats import COUNTERS, STATES
from arbd.model.task import Outcome, Task
from arbd.supervised import report, supervised

_RING_FULL_PAUSE_S: Final = 0.001  # the supervisor empties rings many times faster; waiting here is rare
_NO_PARCEL_PAUSE_S: Final = 0.05  # at most; for want of a descriptor or memory, and each try makes a memfd of a task
_NOT_NOW_PAUSE_S: Final = 0.05
_REPORT_S: Final = 1.0  # figures of a link that has nothing else to tell
_FLUSH_S: Final = 3600.0  # it ends when the supervisor does not want it any more
_TRUSTED: Final = sys.maxsize  # bytes of a parcel: the supervisor has checked what it sends


class AckingOutbox(MemoryOutbox):
    """The outbox of a link process; ``ack`` also goes to the supervisor's."""

    def __init__(self, on_ack: Callable[[int], None]) -> None:
        super().__init__()
        self._on_ack = on_ack

    def ack(self, outcome: Outcome) -> None:
        super().ack(outcome)
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
    """A ``HubPort`` over a link cell. ``max_polls``: the most calls its link has under way, so that
    many slots never keep it back."""

    actions: Sequence[ActionInfo] = ()

    def __init__(self, cell: LinkEnd, *, bell: int, supervisors_bell: int, side: socket.socket, max_polls: int) -> None:
        self.outbox = AckingOutbox(self._on_ack)
        self._cell = cell
        self._bell = bell
        self._supervisors_bell = supervisors_bell
        self._side = side
        self._max_polls = max_polls
        self._fence = make_fence()
        self._loop = asyncio.get_running_loop()
        self._taken = 0
        self._waiting: deque[link_frame.Encoded] = deque()  # no room in the ring
        self._incoming = Incoming(cell.down, side, _TRUSTED)
        self._acks: list[int] = []
        self._flush_is_due = False
        self._pause_s = _RING_FULL_PAUSE_S
        self._is_drained: asyncio.Event | None = None  # somebody waits until nothing waits here
        self._was_held = cell.is_held
        self._failures: dict[str, int] = {}
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._report_timer: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._rests = 0  # one after the other
        self._link: HubLink
        self._gate: SharedGate

    def make_gate(self, interval_s: float) -> SharedGate:
        """The token gate of the link that this port is for."""
        self._gate = SharedGate(self._cell, interval_s, self._flush_soon)
        return self._gate

    def attach(self, link: HubLink) -> None:
        """The link is started: look at what there is, and listen from now on."""
        self._link = link
        self._loop.add_reader(self._bell, self._on_bell)
        self._look()
        self._report()
        self._flush_soon()  # tells the supervisor that this link is there

    def close(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self._bell)
        for timer in (self._report_timer, self._rest):
            if timer is not None:
                timer.cancel()
        for job in self._jobs.values():
            job.cancel()

    async def drain(self, timeout: float) -> None:
        """Have everything that is to go up in the ring, at most ``timeout`` seconds."""
        self._is_drained = asyncio.Event()
        self._flush_soon()
        try:
            async with asyncio.timeout(timeout):
                await self._is_drained.wait()
        except TimeoutError:
            pass

    # -- up ----------------------------------------------------------------------------------------------------

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
        self._flush_soon()

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
        self._flush_soon()

    def _flush_soon(self) -> None:
        """Once, at the end of this turn of the loop: many calls may be answered in one."""
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
        self._report_figures()
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

    # -- down --------------------------------------------------------------------------------------------------

    def _on_bell(self) -> None:
        doorbell.wait(self._bell)
        self._look()

    def _look(self) -> None:
        """Take every result there is, then sleep or rest; then have the link do what it can."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._take_results()
        if len(self.outbox) >= doze.BUSY_RESULTS and self._rests < doze.MOST_LINK_RESTS:
            self._rests += 1
            self._rest = self._loop.call_later(doze.LINK_REST_S, self._look)
        else:
            self._rests = 0
            self._cell.sleep()
            self._fence()
            self._take_results()
        self._obey()
        self._link.results_ready()
        self._cell.ring_above(self._cell.allowed)  # the link looks by itself in a moment, with `free_slots`
        self._link.slots_changed()

    def _take_results(self) -> None:
        try:
            while self._incoming.take(self._take_result):
                pass
        except parcels.NotNow:  # no descriptor is left for the body of a result, which waits
            self._loop.call_later(_NOT_NOW_PAUSE_S, self._look)

    def _take_result(self, record: bytes) -> None:
        self.outbox.append(link_frame.decode_result(record, self._incoming.take_parcel))

    def _obey(self) -> None:
        cell = self._cell
        held = cell.is_held
        if self._was_held and not held:
            self._gate.reopen()
        self._was_held = held
        if cell.is_stopping:
            self._run_once("stop", self._stop)
        if cell.is_flushing and len(self.outbox):
            self._run_once("flush", self._send_all)

    def _run_once(self, name: str, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if name not in self._jobs:
            self._jobs[name] = supervised(job(), f"the {name} that the supervisor asked for")

    async def _stop(self) -> None:
        await self._link.stop_taking()
        self._waiting.append(link_frame.Encoded(link_frame.STOPPED_RECORD, None))
        self._flush_soon()

    async def _send_all(self) -> None:
        try:
            await self._link.flush(_FLUSH_S)
        finally:
            del self._jobs["flush"]  # results that come later need another one

    # -- figures -----------------------------------------------------------------------------------------------

    def _report(self) -> None:
        self._report_timer = self._loop.call_later(_REPORT_S, self._report)
        self._report_figures()
        failures = dict(self._link.stats.failures)
        if failures != self._failures:
            self._failures = failures
            self._waiting.append(link_frame.Encoded(link_frame.encode_failures(failures), None))
            self._flush_soon()

    def _report_figures(self) -> None:
        stats = self._link.stats
        counters = [getattr(stats, name) for name in COUNTERS]
        self._cell.report(STATES.index(stats.state), counters)
