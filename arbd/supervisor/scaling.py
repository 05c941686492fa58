"""How many workers the daemon has from now on: as many as an operator, or a signal, says.

    to(n) ─┬─ cannot be: ``OperationFailed``, and nothing has changed
           ├─ more:  CPUs for the new ones ─> the pool fills the new slots ───────────────────────> all serve
           └─ fewer: the last slots go ─> their workers retire one after the other, with what they have
                     └─> gone ─> their CPUs are given back
    by(+1), by(-1) ─> summed up for a moment ─> to(n)

Slots are numbered without a gap, so it is always the last ones that go. What was asked for last counts: an operation
that was overtaken by another one ends as failed. The settings are not changed; the next start has theirs, as
the last reload has found them. The CPUs of a slot that has gone are held as long as a worker runs there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from arbd.control.reports import Operation
from arbd.control.server import asked_by
from arbd.core.lifecycle import State
from arbd.core.recycling import HOLD_S
from arbd.errors import ConfigError
from arbd.ipc import layout
from arbd.logs import get_logger
from arbd.logs.notable import note
from arbd.supervisor import needs
from arbd.supervisor.in_force import InForce
from arbd.supervisor.operations import OperationFailed, Operations, Progress
from arbd.supervisor.pinning import Pinning
from arbd.supervisor.pool import Pool
from arbd.supervisor.worker import Worker

LOOK_S: Final = 0.02  # between two looks of an operation that waits for workers
_MERGE_S: Final = 0.05  # signals that come within it are one request

Pause = Callable[[float], Awaitable[object]]


class Scaling:
    """The number of workers of one daemon. ``pause``: what an operation waits with between two looks."""

    def __init__(
        self, in_force: InForce, pool: Pool, pinning: Pinning, operations: Operations, pause: Pause = asyncio.sleep
    ) -> None:
        self._in_force = in_force
        self._pool = pool
        self._pinning = pinning
        self._operations = operations
        self._pause = pause
        self._due = 0  # by signals, not yet applied
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._log = get_logger("arbd.scaling")

    def close(self) -> None:
        """Forget what signals have asked for."""
        if self._timer is not None:
            self._timer.cancel()

    # -- what is asked for -----------------------------------------------------------------------------------

    def to(self, workers: int, signal: str = "") -> Operation:
        """Have so many workers from now on. Raises ``OperationFailed`` where that cannot be; then nothing has
        changed."""
        before = self._pool.size
        self._require(workers)
        who: dict[str, Any] = {"signal": signal} if signal else {**asked_by()}
        note(self._log, "info", "scaling", workers=workers, before=before, **who)
        if workers > before:
            occupied = max((worker.slot + 1 for worker in self._pool.surplus()), default=0)
            self._pool.resize(self._pinning.resize(max(workers, occupied))[:workers])
        else:
            self._pool.resize(self._pinning.slots[:workers])
        text = f"from {before} to {count(workers)}"
        return self._operations.begin(
            f"scale to {workers}", text, partial(self._follow, workers, abs(workers - before))
        )

    def by(self, step: int, signal: str) -> None:
        """Have so many more workers, or fewer; requests that come together are one."""
        self._due += step
        if self._timer is None:
            self._timer = self._loop.call_later(_MERGE_S, self._apply, signal)

    def _apply(self, signal: str) -> None:
        self._timer = None
        before, due, self._due = self._pool.size, self._due, 0
        workers = min(max(before + due, 1), layout.MAX_SLOTS)
        if workers == before:
            if due:
                self._log.info("not_scaled", workers=before, reason=f"there are 1 to {layout.MAX_SLOTS} workers")
            return
        try:
            self.to(workers, signal)
        except OperationFailed as error:
            note(self._log, "warning", "not_scaled", workers=workers, reason=str(error))

    def _require(self, workers: int) -> None:
        pool, before = self._pool, self._pool.size
        if not 1 <= workers <= layout.MAX_SLOTS:
            raise OperationFailed(f"{workers} workers cannot be; allowed: 1 to {layout.MAX_SLOTS}")
        if pool.is_closed:
            raise OperationFailed("the daemon is about to end: it starts no workers any more")
        if workers <= before:
            return
        claims = len({cpu for cpus in self._pinning.slots for cpu in cpus}) + workers - before
        try:
            needs.require_files(workers, self._in_force.settings.hub_links, claims)
            needs.require_memory(workers - before, pool, self._in_force.settings.ring_size)
        except ConfigError as error:
            raise OperationFailed(f"{error}; it still has {count(before)}") from None

    # -- until it is so --------------------------------------------------------------------------------------

    async def _follow(self, workers: int, steps: int, progress: Progress) -> None:
        retiring: Worker | None = None
        retired_at = 0.0
        while True:
            self._raise_if_moot(workers)
            surplus, missing = self._pool.surplus(), self._pool.missing()
            if not surplus and self._pinning.slots[workers:]:
                self._pinning.resize(workers)
            if not (surplus or missing):
                break
            if retiring not in surplus or time.monotonic() - retired_at >= HOLD_S:
                serving = next((worker for worker in surplus if worker.state is State.SERVING), None)
                if serving is not None:
                    retiring, retired_at = serving, time.monotonic()
                    self._pool.retire(serving)
            left = len({worker.slot for worker in surplus}) + len(missing)
            progress.say(self._in_words(workers, surplus, missing), max(0, steps - left), steps)
            self._raise_if_in_trouble(surplus, missing)
            await self._pause(LOOK_S)
        note(self._log, "info", "scaled", workers=workers)
        next_start = self._pinning.workers_of(self._in_force.next_start)
        progress.data = {"workers": workers, "next_start": next_start}
        done = f"{count(workers)} {'serves' if workers == 1 else 'serve'}"
        if next_start != workers:
            done += f"; the next start has {next_start} (setting workers: {self._in_force.next_start.workers})"
        progress.say(done, steps, steps)

    def _raise_if_moot(self, workers: int) -> None:
        if self._pool.is_closed:
            raise OperationFailed("the daemon is about to end")
        if self._pool.size != workers:
            raise OperationFailed(f"another number was asked for meanwhile: {count(self._pool.size)}")

    def _raise_if_in_trouble(self, surplus: list[Worker], missing: set[int]) -> None:
        """Raise where nothing more can be waited for: slots are out of service, and are tried again for ever."""
        troubles = self._pool.out_of_service()
        if surplus or not missing <= troubles.keys():
            return
        slot = min(missing)
        serve = self._pool.size - len(missing)
        raise OperationFailed(
            f"{serve} of {count(self._pool.size)} serve; worker {slot} is out of service, and is tried again: "
            f"{troubles[slot].reason}"
        )

    def _in_words(self, workers: int, surplus: list[Worker], missing: set[int]) -> str:
        if surplus:
            return f"{count(len(surplus))} to end, of which some may run a task; {workers} stay"
        return f"{count(len(missing))} to start, of {workers}"


def count(workers: int) -> str:
    """A number of workers in words."""
    return f"{workers} worker" if workers == 1 else f"{workers} workers"
