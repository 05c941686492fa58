"""The slots of the pool: which of them want a worker now, which later, and what keeps them out of service.

A slot is a place (CPUs), a worker is one process in it. This module decides *when* a slot is filled again, by
``arbd.core.restarts``; it starts nothing.

    want ─> wanted, in this order ─> take: the pool starts one
    not_started (the machine)  ─> all wait, one is tried after a pause
    cannot_boot, unfit, ended_early ─> this slot waits
    ready ─> whatever kept it out of service is over

How many there are can change. What is said of a worker whose slot has gone meanwhile is heard, and starts nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final, NamedTuple

from arbd.core.history import shown
from arbd.core.restarts import Restarts, SlotRestarts
from arbd.logs import get_logger
from arbd.logs.notable import note

_WORTH_TELLING_S: Final = 0.5  # a pause below that is no state that anybody could look at


class Trouble(NamedTuple):
    """Why a slot is out of service: the kind in a word, the reason, how often in a row, when it is tried again
    (nanoseconds of the monotonic clock)."""

    kind: str
    reason: str
    times: int
    retry_at_ns: int


class Slots:
    """The slots, by number. ``fill`` is called whenever one of them may be filled."""

    def __init__(self, count: int, fill: Callable[[], None], cannot_boot: Callable[[bool], None]) -> None:
        self.count = count
        self.troubles: dict[int, Trouble] = {}
        self.is_closed = False
        self.on_pause_over: Callable[[], None] = lambda: None  # told when a slot waits no more, and is wanted
        self._fill = fill
        self._cannot_boot = cannot_boot
        self._wanted: dict[int, None] = {}  # in that order
        self._restarts = Restarts()
        self._of_slot: defaultdict[int, SlotRestarts] = defaultdict(SlotRestarts)
        self._pauses: dict[int, asyncio.TimerHandle] = {}
        self._machine_pause: asyncio.TimerHandle | None = None  # while it runs, none is asked for
        self._loop = asyncio.get_running_loop()
        self._log = get_logger("arbd.pool")

    # -- what is wanted ------------------------------------------------------------------------------------

    def want(self, slot: int) -> None:
        """Have a worker started in this slot, as soon as there may be; not in one that there is no more."""
        if slot >= self.count:
            return
        self._wanted[slot] = None
        self._fill()

    def pauses(self, slot: int) -> bool:
        """Whether this slot waits after a failure."""
        return slot in self._pauses

    def want_all(self) -> dict[int, None]:
        """Want one in every slot; nothing is started yet. What was wanted before, for ``restore``."""
        before, self._wanted = self._wanted, dict.fromkeys(range(self.count))
        return before

    def restore(self, before: dict[int, None]) -> None:
        """Undo ``want_all``."""
        self._wanted = before

    def begin_anew(self) -> None:
        """Forget what has kept slots out of service, but for the machine: other code is started there now."""
        self._stop_pauses()
        self._of_slot.clear()
        self.troubles = {slot: each for slot, each in self.troubles.items() if each.kind == "not_started"}

    def take(self) -> int | None:
        """A slot to start a worker in, now; ``None``: there is none, or nothing can be started."""
        if self.is_closed or self._machine_pause is not None or not self._wanted:
            return None
        slot = next(iter(self._wanted))
        del self._wanted[slot]
        return slot

    def clear(self) -> None:
        """Want none any more; failures so far were those of other code."""
        self._wanted.clear()
        self._restarts.succeeded()
        self.begin_anew()

    def resize(self, count: int) -> None:
        """Have so many slots from now on. New ones are wanted; of those that go nothing is wanted or remembered."""
        new, self.count = range(self.count, count), count
        self._wanted = {slot: None for slot in self._wanted if slot < count} | dict.fromkeys(new)
        for slot in [slot for slot in {*self._pauses, *self.troubles, *self._of_slot} if slot >= count]:
            self._stop_pause(slot)
            self.troubles.pop(slot, None)
            self._of_slot.pop(slot, None)
        self._fill()

    # -- what became of it ---------------------------------------------------------------------------------

    def ready(self, slot: int) -> None:
        """A worker of this slot is ready."""
        self._restarts.succeeded()
        if slot >= self.count:
            return
        self._of_slot[slot].was_fit()
        trouble = self.troubles.get(slot)
        if trouble is None or trouble.kind == "ended_early":
            return  # it may do so again
        del self.troubles[slot]
        if trouble.kind == "unfit":
            note(self._log, "info", "worker_fit_again", worker=slot, failures=trouble.times)

    def worked(self, slot: int) -> None:
        """A worker of this slot has ended that had finished tasks, or was ended by the supervisor."""
        if slot >= self.count:
            return
        self._of_slot[slot].worked()
        self.troubles.pop(slot, None)
        self.want(slot)

    def ended_early(self, slot: int, *, at_task: bool) -> None:
        """A worker of this slot was ready, and ended before it had finished one task; ``at_task``: running its first"""
        if self.is_closed or slot >= self.count:
            return
        restarts = self._of_slot[slot]
        pause_s = restarts.ended_at_first_task() if at_task else restarts.ended_idle()
        if pause_s >= _WORTH_TELLING_S:
            self._note(slot, "ended_early", "its workers end before they have finished a task", pause_s)
        self._want_later(slot, pause_s)

    def unfit(self, slot: int, detail: str) -> None:
        """A worker of this slot cannot take tasks: a start hook or a resource failed."""
        if self.is_closed or slot >= self.count:
            return
        pause_s = self._of_slot[slot].was_unfit()
        before = self.troubles.get(slot)
        trouble = self._note(slot, "unfit", shown(detail), pause_s)
        if before is None or before.reason != trouble.reason:
            hint = "its slot is tried again after a pause, for as long as it takes"
            note(self._log, "error", "worker_unfit", worker=slot, reason=trouble.reason, hint=hint)
        self._want_later(slot, pause_s)

    def cannot_boot(self, slot: int, status: int, *, others_serve: bool) -> None:
        """A process of this slot ended before it was ready."""
        if self.is_closed or slot >= self.count:
            return
        pause_s = self._restarts.failed(by_machine=False, others_serve=others_serve)
        note(self._log, "error", "worker_cannot_boot", worker=slot, status=status, retry_in=pause_s)
        if pause_s is None:
            self._cannot_boot(False)
            return
        self._note(slot, "cannot_boot", f"its workers end with status {status} before they are ready", pause_s)
        self._want_later(slot, pause_s)

    def not_started(self, slot: int, reason: str, *, others_serve: bool) -> None:
        """There was no process, descriptor or memory for a worker; so there is none for another at this moment."""
        if slot >= self.count:
            return
        self._wanted[slot] = None
        if self.is_closed or self._machine_pause is not None:
            return
        pause_s = self._restarts.failed(by_machine=True, others_serve=others_serve)
        note(self._log, "error", "worker_not_started", worker=slot, reason=reason, retry_in=pause_s)
        if pause_s is None:
            self._wanted.clear()
            self._cannot_boot(True)
            return
        self._note(slot, "not_started", shown(reason), pause_s)
        self._machine_pause = self._loop.call_later(pause_s, self._end_machine_pause)

    def _end_machine_pause(self) -> None:
        self._machine_pause = None
        self._fill()

    def _note(self, slot: int, kind: str, reason: str, pause_s: float) -> Trouble:
        before = self.troubles.get(slot)
        times = before.times + 1 if before is not None and before.kind == kind else 1
        trouble = self.troubles[slot] = Trouble(kind, reason, times, time.monotonic_ns() + round(pause_s * 1e9))
        return trouble

    def _want_later(self, slot: int, pause_s: float) -> None:
        self._stop_pause(slot)
        if pause_s:
            self._pauses[slot] = self._loop.call_later(pause_s, self._end_pause, slot)
        else:
            self.want(slot)

    def _end_pause(self, slot: int) -> None:
        self._pauses.pop(slot, None)
        self.want(slot)
        self.on_pause_over()

    # -- the end -------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Want none, now or later."""
        self.is_closed = True
        self._stop_pauses()
        if self._machine_pause is not None:
            self._machine_pause.cancel()

    def _stop_pauses(self) -> None:
        for slot in list(self._pauses):
            self._stop_pause(slot)

    def _stop_pause(self, slot: int) -> None:
        if (pause := self._pauses.pop(slot, None)) is not None:
            pause.cancel()
