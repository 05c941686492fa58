"""``hub.links = auto``: the supervisor makes the calls itself, until that is what holds the workers back.

    own link, behind a valve ── more, says ``autoscale`` ──> LinkGroup; once the hub has answered one of its links the
         ^                                                   valve is closed: the own link finishes what it has
         └───────────────────── fewer, down to none ──────── and is opened again

Both take from one outbox and give to one intake. While a daemon is idle, nothing here wakes it up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import structlog

from arbd.core.outbox import Outbox
from arbd.core.placement import usable_cpus
from arbd.host import cpus
from arbd.links.base import HubLink, HubPort
from arbd.links.ending import run_all
from arbd.links.processes.autoscale import Autoscale, Second
from arbd.links.processes.group import LinkGroup
from arbd.links.stats import LinkStats
from arbd.model.description import ActionInfo
from arbd.model.task import Outcome, Task
from arbd.supervised import report, supervised

_TICK_S: Final = 1.0
_CPUS_PER_LINK: Final = 4  # one link keeps the workers of four CPUs busy, if their tasks take more than a millisecond


def most_links() -> int:
    """How many link processes this machine has room for beside supervisor and workers: none with two CPUs."""
    usable = usable_cpus(cpus.allowed(), cpus.quota())
    return max(1, usable // _CPUS_PER_LINK) if usable > 2 else 0


class Valve:
    """The supervisor's port, as the own link sees it. Closed, there is nothing to poll for and nothing to send; what
    the link has already it can finish."""

    def __init__(self, port: HubPort) -> None:
        self._port = port
        self.is_open = True
        self.outbox: Outbox = _ValveOutbox(self, port.outbox)

    def free_slots(self) -> int:
        return self._port.free_slots() if self.is_open else 0

    def has_idle_worker(self) -> bool:
        return self._port.has_idle_worker()

    @property
    def actions(self) -> Sequence[ActionInfo]:
        return self._port.actions

    def on_task(self, task: Task) -> None:
        self._port.on_task(task)

    def on_tasks(self, tasks: Sequence[Task]) -> None:
        self._port.on_tasks(tasks)

    def on_cancel(self, task_ids: Sequence[str]) -> None:
        self._port.on_cancel(task_ids)


class _ValveOutbox:
    def __init__(self, valve: Valve, outbox: Outbox) -> None:
        self._valve = valve
        self._outbox = outbox
        self.append = outbox.append
        self.put_back = outbox.put_back
        self.ack = outbox.ack

    def take(self) -> Outcome | None:
        return self._outbox.take() if self._valve.is_open else None

    def __len__(self) -> int:
        return len(self._outbox)


class _Totals(NamedTuple):
    at: float
    tasks: int
    empty: int
    own_cpu_s: float
    links_cpu_s: float

    def since(self, before: _Totals, *, idle: float, links: int) -> Second:
        """What happened between the two, per second."""
        elapsed_s = self.at - before.at
        own_cpu = (self.own_cpu_s - before.own_cpu_s) / elapsed_s
        links_cpu = max(0.0, self.links_cpu_s - before.links_cpu_s) / elapsed_s  # less if one has ended
        return Second(
            tasks=self.tasks - before.tasks,
            empty=self.empty - before.empty,
            idle=idle,
            caller_cpu=links_cpu / links if links else own_cpu,
            supervisor_cpu=own_cpu,
        )


class ScaledLink:
    """``own``: the link of this process; ``group``: one without processes yet."""

    def __init__(self, own: HubLink, group: LinkGroup, autoscale: Autoscale, *, logger: Any = None) -> None:
        self._log = logger if logger is not None else structlog.get_logger("arbd.hub")
        self._own = own
        self._group = group
        self._autoscale = autoscale
        self._ticker: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._looks = 0
        self._idle_looks = 0

    # -- the HubLink interface -------------------------------------------------------------------------------

    @property
    def stats(self) -> LinkStats:
        """Everything that was counted by either; the state of the one in use."""
        total = self._group.stats
        total.add(self._own.stats)
        if self._valve.is_open:
            total.state = self._own.stats.state
        return total

    @property
    def patience_s(self) -> float:
        """That of the one in use."""
        return self._own.patience_s if self._valve.is_open else self._group.patience_s

    async def start(self, port: HubPort) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._valve = Valve(port)
        await self._own.start(self._valve)
        try:
            await self._group.start(port)
        except OSError:
            await self._own.close()
            raise
        self._last = self._totals()

    def slots_changed(self) -> None:
        try:
            self._note_slots()
        except Exception as error:  # the links must hear of it all the same
            report(error, "the number of links")
        if self._valve.is_open:
            self._own.slots_changed()
        self._group.slots_changed()

    def results_ready(self) -> None:
        if self._valve.is_open:
            self._own.results_ready()
        self._group.results_ready()

    async def stop_taking(self) -> None:
        self._stop_ticking()
        await run_all((self._own.stop_taking(), self._group.stop_taking()), "the end of polls")

    async def flush(self, timeout: float) -> bool:
        # Both wait for the same outbox, and whoever sends the last result knows it first.
        waits = {supervised(link.flush(timeout), "the last results") for link in (self._own, self._group)}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return not len(self._port.outbox)
        finally:
            for wait in waits:
                wait.cancel()

    async def close(self) -> None:
        self._stop_ticking()
        try:
            await self._group.close()
        finally:
            await self._own.close()

    # -- once a second, while there is work --------------------------------------------------------------------

    def _note_slots(self) -> None:
        self._looks += 1
        self._idle_looks += self._port.has_idle_worker()
        if self._ticker is None and not self._is_stopping:
            self._last = self._totals()
            self._ticker = self._loop.call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticker = None  # whatever is raised below, the next change of slots sets it again
        before, self._last = self._last, self._totals()
        second = self._last.since(before, idle=self._idle_looks / max(1, self._looks), links=self._autoscale.count)
        self._looks = self._idle_looks = 0
        count_before = self._autoscale.count
        count = self._autoscale.look(second)
        if count != count_before:
            self._log.info("links_scaled", links=count, tasks_per_s=second.tasks, idle=round(second.idle, 2))
            self._group.set_count(count)
        self._set_valve(is_open=not (count and self._group.callers.are_serving))
        worked = second.tasks or count
        self._ticker = self._loop.call_later(_TICK_S, self._tick) if worked else None

    def _set_valve(self, is_open: bool) -> None:
        if is_open and not self._valve.is_open:
            self._valve.is_open = True
            self._own.slots_changed()
            self._own.results_ready()
        self._valve.is_open = is_open

    def _totals(self) -> _Totals:
        own, group = self._own.stats, self._group
        return _Totals(
            at=time.monotonic(),
            tasks=own.tasks + group.taken,
            empty=own.empty + group.stats.empty,
            own_cpu_s=time.process_time(),
            links_cpu_s=sum(link.cpu_s for link in group.active),
        )

    def _stop_ticking(self) -> None:
        self._is_stopping = True
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
