"""One link process, as the supervisor sees it: the process, the memory shared with it, and the results it has.

    booting ──first sleep──> has_booted ──stop──> has_stopped ──end         take_again leads back to has_booted
       └───────────────── ended, at whatever instant: what it had goes back

Not the decisions: how much a link may ask for, and which result it gets, is the group's business. The supervisor trusts
nothing that a link writes: what cannot be is a ``LinkRecordError`` or one of ``UNREADABLE``, and the link is killed.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection
from contextlib import ExitStack
from typing import Final

from arbd.host import channel, cpu_clock, doorbell, memory, procs
from arbd.ipc import layout, link_frame
from arbd.ipc.link_cell import SupervisorEnd
from arbd.ipc.link_frame import LinkRecordError
from arbd.ipc.ring import Pushed, RingCorruptError
from arbd.links.options import max_receive
from arbd.links.processes import boot
from arbd.links.processes.records import Incoming, push
from arbd.model.link_stats import COUNTERS, STATES, LinkProcessStats, LinkState, LinkStats
from arbd.model.task import Outcome, Task
from arbd.settings.table import Settings
from arbd.wire.grpc_channel import Tls

UNREADABLE: Final = (RingCorruptError, LinkRecordError, OSError, ValueError)

_MOST_COUNTED: Final = 1 << 53  # whatever a link claims, sums of it are numbers that can be shown
_MAX_FAILURES: Final = 256  # 17 status codes of two methods, and room for those a hub invents


class LinkHandle:
    """One link process, which this starts. Raises ``OSError`` if there is none to be had; nothing is left then.

    ``unacked``: results it has, by number. ``popped``: tasks taken from it. ``lease_s``: the hub's lease, if it has
    told that. ``has_ended``: its process is gone, and what is left in its ring is taken.
    """

    def __init__(self, number: int, settings: Settings, tls: Tls, supervisors_bell: int, program: str) -> None:
        self.number = number
        self.unacked: dict[int, Outcome] = {}
        self.popped = 0
        self.lease_s = 0.0
        self._allowed = 0
        self.has_booted = False
        self._stops = 0  # so often it was told to poll no more
        self._stops_done = 0
        self._is_stopping = False
        self.has_ended = False
        self.is_damaged = False
        self.has_news = False
        self._sleeps_before = 0
        self._deaf_ticks = 0
        self.started_at = time.monotonic()
        self._most_ever = 0
        self._failures: dict[str, int] = {}
        self._token_calls = (0, 0)
        self._failure_records = 0  # one a second, at most
        self._longest = layout.largest_record(settings.ring_size)
        self._start(settings, tls, supervisors_bell, program)

    def _start(self, settings: Settings, tls: Tls, supervisors_bell: int, program: str) -> None:
        ring_bytes = settings.ring_size
        with ExitStack() as passed_on, ExitStack() as undo:
            cell_fd = memory.create("arbd-link", layout.PAGE_BYTES + 2 * ring_bytes)
            passed_on.callback(os.close, cell_fd)
            self._mapping = memory.attach(cell_fd)
            self._words = memory.words_of(self._mapping)
            self.cell = SupervisorEnd(self._mapping, self._words, ring_bytes)
            self._bell = doorbell.create(blocking=False)
            undo.callback(os.close, self._bell)
            self._side, side_theirs = channel.pair()
            passed_on.callback(side_theirs.close)
            undo.callback(self._side.close)
            self._side.setblocking(False)
            self._incoming = Incoming(self.cell.up, self._side, max_receive(settings))
            descriptors = boot.Descriptors(cell_fd, self._bell, supervisors_bell, side_theirs.fileno())
            self._process, self._control = boot.start(boot.LinkBoot(self.number, settings, tls), descriptors, program)
            undo.callback(self._abandon)
            self.pid = self._process.pid
            self.pidfd = os.pidfd_open(self.pid)
            undo.pop_all()

    def _abandon(self) -> None:
        """End a process that cannot be watched."""
        self._control.close()
        self._process.kill()
        self._process.wait()

    # -- what comes up -----------------------------------------------------------------------------------------

    def take(self, tasks: list[Task], acked: list[Outcome]) -> int:
        """Move a batch of what it has sent into these lists; how many records. Raises one of ``UNREADABLE``, or
        ``parcels.NotNow`` if the body of the next cannot be taken at this moment: then ask again later."""
        return self._incoming.take(lambda record: self._take_record(record, tasks, acked))

    def _take_record(self, record: bytes, tasks: list[Task], acked: list[Outcome]) -> None:
        kind = link_frame.kind_of(record)
        if kind == link_frame.TASK:
            task = link_frame.decode_task(record, self._incoming.take_parcel)
            self._count_task()
            tasks.append(task)
        elif kind == link_frame.ACKS:
            acked += self._acked(link_frame.decode_acks(record))
        elif kind == link_frame.STOPPED:
            self._note_stopped(link_frame.decode_stopped(record))
        elif kind == link_frame.LEASE and not self.lease_s:
            self.lease_s = link_frame.decode_lease(record)
        elif kind == link_frame.FAILURES:
            self._note_failures(link_frame.decode_failures(record))
        else:
            raise LinkRecordError(f"a record of kind {kind} has no meaning here")

    def _count_task(self) -> None:
        self.popped += 1
        if self.popped > self._most_ever:
            raise LinkRecordError(f"{self.popped} tasks came where at most {self._most_ever} could be asked for")

    def _acked(self, numbers: Collection[int]) -> Collection[Outcome]:
        """The results behind these numbers; all of them, or none: what it claims wrongly must not lose a right one."""
        try:
            outcomes = {number: self.unacked[number] for number in numbers}
        except KeyError as error:
            raise LinkRecordError(f"result {error} was acknowledged, which it did not have") from error
        if len(outcomes) != len(numbers):
            raise LinkRecordError("a result was acknowledged twice")
        for number in numbers:
            del self.unacked[number]
        return outcomes.values()

    def _note_stopped(self, number: int) -> None:
        """It is done with this stop, which may have been called off meanwhile."""
        if not self._stops_done < number <= self._stops:
            raise LinkRecordError(f"stop {number} is done, after {self._stops_done}, and there were {self._stops}")
        self._stops_done = number

    def _note_failures(self, failures: dict[str, int]) -> None:
        self._failure_records += 1
        if len(failures) > _MAX_FAILURES or self._failure_records > 10 + 2 * (time.monotonic() - self.started_at):
            raise LinkRecordError(f"{len(failures)} kinds of failures, or the same ones over and over")
        self._failures = failures

    def news_of_token(self) -> tuple[bool, bool]:
        """Whether the hub was found to accept its token, and whether it refused it, since this was asked last."""
        before, self._token_calls = self._token_calls, self.cell.token_calls()
        return self._token_calls[0] != before[0], self._token_calls[1] != before[1]

    @property
    def has_unread_for_us(self) -> bool:
        """Whether it has gone to sleep, and something of it has not been read."""
        return not (self.cell.is_awake() or self.cell.up.is_empty())

    # -- what goes down ----------------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """How many more tasks it may ask for, or has asked for."""
        return self._allowed - self.popped

    def allow(self, slots: int) -> None:
        """It may ask for so many more tasks, beyond those that were taken from it."""
        allowed = self.popped + slots
        if allowed != self._allowed:
            self._allowed = allowed
            self._most_ever = max(self._most_ever, allowed)
            self.cell.allow(allowed)

    def give(self, outcome: Outcome, number: int) -> Pushed:
        """Hand a result over, to be in ``unacked`` until the hub has it; it rings when it has room again. Raises one of
        ``UNREADABLE`` if its ring is damaged."""
        pushed = push(self.cell.down, self._side, link_frame.encode_result(outcome, number, self._longest))
        if pushed is Pushed.DONE:
            self.unacked[number] = outcome
            self.has_news = True
        return pushed

    def stop(self) -> None:
        """Have it poll no more; ``has_stopped`` once the last poll is answered."""
        if not self._is_stopping:
            self._is_stopping = True
            self._stops += 1
            self.cell.stop(self._stops)
            self.has_news = True

    def take_again(self) -> None:
        """Have it poll again."""
        if self._is_stopping:
            self._is_stopping = False
            self.cell.stop(0)
            self.has_news = True

    @property
    def has_stopped(self) -> bool:
        """Whether it polls no more, and every task that it had been given has come up."""
        return self._is_stopping and self._stops_done == self._stops

    @property
    def polls_no_more(self) -> bool:
        """Whether no task can come from it any more: it has stopped; or it has not looked around yet, and is held until
        it has, when it finds that it is to stop."""
        return self.has_stopped or (self._is_stopping and not self.has_booted)

    def flush(self) -> None:
        """Have it send at once what it has put aside."""
        self.cell.flush()
        self.has_news = True

    def hold(self, held: bool) -> None:
        """Whether it may call the hub."""
        if self.cell.is_held != held:
            self.cell.hold(held)
            self.has_news = True

    def renew(self, settings: Settings, tls: Tls) -> bool:
        """Tell it to go by these; ``False`` if that cannot be told now. The sizes that it may bring only grow: what it
        has received may be on its way."""
        self._incoming.allow(max_receive(settings))
        try:
            boot.tell(self._control, boot.LinkBoot(self.number, settings, tls))
        except (BrokenPipeError, ConnectionResetError):
            return True  # it ends: the next one is told when it is started
        except OSError:
            return False
        return True

    def ring_if_due(self) -> None:
        """Wake it if there is something for it; after a fence."""
        if self.cell.must_ring(self.has_news):
            doorbell.ring(self._bell)
        self.has_news = False  # also if it was not rung: then it is about to look anyway

    def note_tick(self) -> int:
        """Ticks in a row, this one included, for which it was awake and did not come round to sleep: one that works
        does so each fraction of a second, however much it has to do."""
        sleeps = self.cell.sleeps()
        is_deaf = self.cell.is_awake() and sleeps == self._sleeps_before
        self._sleeps_before = sleeps
        self._deaf_ticks = self._deaf_ticks + 1 if is_deaf else 0
        return self._deaf_ticks

    # -- the process -------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL; its end is noticed by its pidfd."""
        try:
            procs.kill(self.pidfd)
        except OSError:  # a sandbox without that call; its number is its own until it is reaped
            self._process.kill()

    def end(self) -> None:
        """Have it leave."""
        self._control.close()

    def reap(self) -> int:
        """After its end: its exit code, or minus a signal number; everything is given back."""
        with ExitStack() as closing:
            closing.callback(os.close, self._bell)
            closing.callback(self._side.close)
            closing.callback(self._control.close)
            closing.callback(os.close, self.pidfd)
            return self._process.wait()

    # -- figures -----------------------------------------------------------------------------------------------

    @property
    def stats(self) -> LinkStats:
        """What it has counted."""
        stats = LinkStats(failures=Counter(self._failures), state=self.state)
        if not self.is_damaged:
            _, counters = self.cell.figures()
            for name, count in zip(COUNTERS, counters, strict=False):
                setattr(stats, name, min(count, _MOST_COUNTED))
        stats.tasks = self.popped
        return stats

    @property
    def state(self) -> LinkState:
        """The state of its connection, as far as it can be told."""
        number, _ = self.cell.figures()
        return STATES[number] if number < len(STATES) else "down"

    @property
    def cpu_s(self) -> float:
        """CPU seconds it has used."""
        return cpu_clock.used_s(self.pid)

    def describe(self) -> LinkProcessStats:
        """Its line in the status of the daemon."""
        return LinkProcessStats(
            number=self.number,
            pid=self.pid,
            state=self.state,
            tasks=self.popped,
            unacked=len(self.unacked),
            age_s=time.monotonic() - self.started_at,
            cpu_s=self.cpu_s,
        )
