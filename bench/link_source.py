"""A link process without a hub: tasks appear at a steady rate, and every result is taken at once.

    python -m bench.link_source CONTROL_FD PARENT_PID        in place of the daemon's arbd.links.processes.process

It asks for as little CPU as a link can, so that 64 workers can be fed on two cores. The rate, in tasks per second and
link, is in the variable BENCH_LINK_RATE. Everything but the link itself is that of a real link process.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time

from arbd.links.base import HubPort, LinkHealth
from arbd.links.options import LinkOptions
from arbd.links.processes.port import RingPort
from arbd.links.processes.process import main
from arbd.logs import Logger
from arbd.model.task import Task
from arbd.settings.table import Settings

_TICK_S = 0.001
_MOST_LATE = 50  # ticks: what could not be handed over because no slot was free is not made up for


class Source:
    """A ``HubLink`` to nothing."""

    def __init__(self, options: LinkOptions, port: RingPort, _log: Logger) -> None:
        self.stats = port.stats
        self.stats.changed_to("up")
        self.sends_one_by_one = True
        self._gate = port.gate
        self._rate = float(os.environ["BENCH_LINK_RATE"])
        self._numbers = itertools.count()
        self._stopping = False

    def health(self, now: float) -> LinkHealth:
        return LinkHealth()

    async def start(self, port: HubPort) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._gate.passed(time.monotonic())
        self._due = 0.0
        self._last = time.monotonic()
        self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        now = time.monotonic()
        self._due = min(self._due + (now - self._last) * self._rate, self._rate * _MOST_LATE * _TICK_S)
        self._last = now
        count = min(int(self._due), self._port.free_slots())
        if count > 0:
            self._due -= count
            self.stats.tasks += count
            self._port.take([Task(f"{os.getpid()}-{next(self._numbers)}", "pause", b"{}") for _ in range(count)])
        if not self._stopping:
            self._loop.call_later(_TICK_S, self._tick)

    def renew(self, settings: Settings, options: LinkOptions) -> None:
        pass  # it has no hub

    def slots_changed(self) -> None:
        pass  # the tick looks

    def results_ready(self) -> None:
        outbox = self._port.outbox
        while (outcome := outbox.take()) is not None:
            assert outcome.status == "success", outcome.result
            self.stats.accepted += 1
            outbox.ack(outcome, time.monotonic())

    async def stop_taking(self) -> None:
        self._stopping = True

    def take_again(self) -> None:
        self._stopping = False
        self._tick()

    async def flush(self, timeout: float) -> bool:
        return True

    async def close(self) -> None:
        self._stopping = True


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), Source))
