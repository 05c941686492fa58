"""The log level that an operator asks for, in every process of the daemon until the next start.

    supervisor, link processes  as a change of the settings in force
    zygotes                     by a message; workers that they start from then on begin with it
    workers                     by a word of their cell, at which they look before they sleep, and after 64 tasks

A task that runs goes on as it began. The process of the author's rate limit monitors keeps the level it was started
with. A reload keeps what was asked for, unless it finds another ``log.level`` in the settings than there was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from arbd import logs
from arbd.control.server import asked_by
from arbd.host import doorbell
from arbd.logs import get_logger
from arbd.logs.notable import note
from arbd.settings.table import Settings
from arbd.supervisor.flow import Flow
from arbd.supervisor.generations import Generations
from arbd.supervisor.in_force import InForce

if TYPE_CHECKING:
    from arbd.control.protocol import LogLevel


class LogLevelChange:
    """The change of the log level of one daemon."""

    def __init__(self, in_force: InForce, flow: Flow, generations: Generations) -> None:
        self._in_force = in_force
        self._flow = flow
        self._generations = generations
        self._configured = in_force.settings.log_level
        self._asked: LogLevel | None = None
        self._log = get_logger("arbd.supervisor")
        generations.adjusts.append(self.adjust)

    def set(self, level: LogLevel) -> None:
        """Write lines of this level and above."""
        self._asked = level
        self._in_force.change(msgspec.structs.replace(self._in_force.settings, log_level=level))
        logs.change_level(level)
        self._generations.set_log_level(level)
        number = logs.level_number(level)
        pool = self._flow.pool
        for worker in pool.workers.values():
            worker.cell.set_log_level(number)
        pool.fence()
        for worker in pool.workers.values():
            doorbell.ring(worker.bell)  # one that sleeps looks when it wakes
        note(self._log, "info", "log_level_set", log_level=level, **asked_by())

    def adjust(self, settings: Settings) -> Settings:
        """The settings that a reload has found, with the level that was asked for, if they have the one of before."""
        if settings.log_level != self._configured:
            self._configured, self._asked = settings.log_level, None
        if self._asked is None:
            return settings
        return msgspec.structs.replace(settings, log_level=self._asked)
