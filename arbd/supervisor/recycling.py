"""Looks at what each worker holds, and has those replaced that hold too much (``arbd.core.recycling`` decides).

    ready ─> what it holds before its first task: bounds below that are not applied to it, and told
    look ─┬─ over worker.max_age, max_memory, max_fds ─> the pool replaces it, one at a time
          └─ over worker.memory_limit ─┬─ runs a task ─> that is ended with MEMORY, by the ritual of ``halt.kill``
                                       └─ has none ────> it is replaced at once

``worker.max_tasks`` is kept by the worker, which says that it leaves.

A worker that is over ``worker.memory_limit`` leaves before it says that it runs another task (``arbd.worker.quota``);
so what runs when one is found over it is to blame. Looks are planned only where there is a limit; more often while
tasks run under the hard one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from arbd.core import recycling
from arbd.core.history import Why
from arbd.core.lifecycle import State
from arbd.core.recycling import RecycleLimits, Usage
from arbd.host import footprint
from arbd.logs import get_logger
from arbd.logs.notable import note
from arbd.model.response import memory_exceeded
from arbd.supervisor import halt
from arbd.supervisor.flow import Flow
from arbd.supervisor.worker import Worker

_MIB: Final = 1 << 20


class Recycling:
    """The looks of one daemon. Plans the first one itself."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._pool = flow.pool
        self._told: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_soon = False  # the look that is planned is one of those while tasks run
        self._loop = asyncio.get_running_loop()
        self._log = get_logger("arbd.recycling")
        self._sent_before: Callable[[set[int], float], None] | None = None
        flow.pool.on_fresh = self.on_fresh
        self.limits_changed()

    @property
    def _limits(self) -> RecycleLimits:
        return self._pool.recycle

    def limits_changed(self) -> None:
        """Look as often as the limits in force ask for. Workers that are there keep the bounds they began with."""
        self.close()
        self._told.clear()
        if self._limits.memory_limit and self._sent_before is None:
            self._sent_before, self._flow.on_sent = self._flow.on_sent, self._on_sent
        self._plan()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    # -- when to look --------------------------------------------------------------------------------------

    def _plan(self) -> None:
        is_busy = any(True for _ in self._flow.dispatcher.busy_workers())
        pause_s = recycling.next_look_s(self._limits, is_busy)
        self._is_soon = False
        if pause_s is not None:
            self._is_soon = pause_s < recycling.LOOK_S
            self._timer = self._loop.call_later(pause_s, self._look)

    def _on_sent(self, sent: set[int], shortest_s: float) -> None:
        assert self._sent_before is not None
        self._sent_before(sent, shortest_s)
        if self._limits.memory_limit and not self._is_soon:
            self.close()
            self._is_soon = True
            self._timer = self._loop.call_later(recycling.HARD_LOOK_S, self._look)

    def _look(self) -> None:
        try:
            for worker in list(self._pool.workers.values()):
                if worker.pid and worker.state in (State.SERVING, State.RETIRING):
                    self._look_at(worker)
        finally:  # whatever was raised goes to who handles it, and until the daemon has ended limits hold
            self._plan()

    # -- one worker ----------------------------------------------------------------------------------------

    def on_fresh(self, worker: Worker) -> None:
        """A worker is ready, and has not had any task."""
        limits = self._limits
        if not limits.needs_looks:
            return
        fresh = self._usage_of(worker)
        bounds = recycling.without_unreachable(worker.bounds, fresh)
        worker.has_hard_limit = not 0 < limits.memory_limit < fresh.memory
        for setting, is_kept in (
            ("worker.max_memory", bounds.max_memory == worker.bounds.max_memory),
            ("worker.max_fds", bounds.max_fds == worker.bounds.max_fds),
            ("worker.memory_limit", worker.has_hard_limit),
        ):
            if not is_kept:
                self._tell_unreachable(setting, fresh)
        worker.bounds = bounds

    def _tell_unreachable(self, setting: str, fresh: Usage) -> None:
        if setting in self._told:
            return
        self._told.add(setting)
        hint = "a worker is above it before its first task, so replacing it cannot help; the limit is not applied"
        note(
            self._log,
            "error",
            "worker_limit_too_low",
            setting=setting,
            memory=fresh.memory,
            descriptors=fresh.fds,
            hint=hint,
        )

    def _usage_of(self, worker: Worker) -> Usage:
        limits = self._limits
        memory = footprint.rss_of(worker.pid) if limits.max_memory or limits.memory_limit else None
        fds = footprint.descriptors_of(worker.pid) if limits.max_fds else None
        return Usage(time.monotonic_ns() - worker.spawned_at_ns, memory or 0, fds or 0)

    def _look_at(self, worker: Worker) -> None:
        holds = self._usage_of(worker)
        if 0 < self._limits.memory_limit < holds.memory and worker.has_hard_limit:
            self._end(worker, holds)
        elif worker.state is State.SERVING and (excess := recycling.judge(worker.bounds, holds)) is not None:
            self._pool.ask_to_replace(worker, excess, _in_words(excess, holds))

    def _end(self, worker: Worker, holds: Usage) -> None:
        """End the task that a worker runs, or the worker if it runs none."""
        if not self._flow.dispatcher.has_worker(worker.id):
            return
        running = worker.cell.running()
        assignment = self._flow.dispatcher.outstanding(worker.id).get(running.seq)
        why = Why("memory_limit", f"it held {holds.memory // _MIB} MiB", assignment.task.action if assignment else "")
        if assignment is not None and running.is_for(assignment.seq):
            verdict = memory_exceeded(assignment.task.action, self._limits.memory_limit)
            halt.kill(self._flow, worker, assignment, verdict=verdict, why=why)
        elif worker.state is State.SERVING:
            self._pool.replace_now(worker, why)


def _in_words(excess: recycling.Excess, holds: Usage) -> str:
    if excess == "memory":
        return f"it held {holds.memory // _MIB} MiB"
    if excess == "descriptors":
        return f"it had {holds.fds} descriptors open"
    return f"it was {holds.age_ns / 1e9:.0f} s old"
