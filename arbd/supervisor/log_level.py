"""The log level that an operator asks for, in every process of the daemon until the next start.

    supervisor      at once
    zygotes         by a message; workers that they start from then on begin with it
    workers         by a word of their cell, which they look at before they sleep, and after 64 tasks
    link processes  by a message; so do those that come

A task that runs goes on as it began. The process of the author's rate limit monitors keeps the level it was started
with.
"""

from __future__ import annotations

from arbd import logs
from arbd.host import doorbell
from arbd.links.base import LinkProcesses
from arbd.logs import get_logger
from arbd.logs.notable import note
from arbd.supervisor.flow import Flow
from arbd.supervisor.generations import Generations


class LogLevelChange:
    """The change of the log level of one daemon."""

    def __init__(self, flow: Flow, generations: Generations) -> None:
        self._flow = flow
        self._generations = generations
        self._level: str | None = None
        self._log = get_logger("arbd.supervisor")
        flow.on_join = self._on_join

    def set(self, level: str) -> None:
        """Write lines of this level and above."""
        self._level = level
        logs.change_level(level)
        self._generations.set_log_level(level)
        number = logs.level_number(level)
        pool = self._flow.pool
        for worker in pool.workers.values():
            worker.cell.set_log_level(number)
        pool.fence()
        for worker in pool.workers.values():
            doorbell.ring(worker.bell)  # one that sleeps looks when it wakes
        for processes in self._flow.link_processes:
            processes.set_log_level(level)
        note(self._log, "info", "log_level_set", log_level=level)

    def _on_join(self, processes: LinkProcesses) -> None:
        if self._level is not None:
            processes.set_log_level(self._level)
