"""What comes down to a link process: results for its link, and what the supervisor wants of it.

    doorbell ─> ring down ──> port.outbox ──> link.results_ready(); link.slots_changed()
             └> held? stopping? flushing?

While several results are on their way, it does not say that it sleeps, but rests (``arbd.core.doze``): it looks again
by itself, and the supervisor need not ring.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from arbd.core import doze
from arbd.host import doorbell, parcels
from arbd.host.fence import make_fence
from arbd.ipc import link_frame
from arbd.ipc.link_cell import LinkEnd
from arbd.links.base import HubLink
from arbd.links.processes.port import RingPort
from arbd.links.processes.records import Incoming
from arbd.supervised import supervised

_NOT_NOW_PAUSE_S: Final = 0.05
_REPORT_S: Final = 1.0  # figures of a link that has nothing else to tell
_FLUSH_S: Final = 3600.0  # it ends when the supervisor does not want it any more
_TRUSTED: Final = sys.maxsize  # bytes of a parcel: the supervisor has checked what it sends


class Listener:
    """The listening side of a link process, for a link that has been started. ``bell``: what the supervisor rings."""

    def __init__(self, cell: LinkEnd, bell: int, side: socket.socket, port: RingPort, link: HubLink) -> None:
        self._cell = cell
        self._bell = bell
        self._port = port
        self._link = link
        self._incoming = Incoming(cell.down, side, _TRUSTED)
        self._fence = make_fence()
        self._loop = asyncio.get_running_loop()
        self._was_held = cell.is_held
        self._stop_number = 0
        self._failures: dict[str, int] = {}
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._rest: asyncio.TimerHandle | None = None
        self._rests = 0  # one after the other
        self._retry: asyncio.TimerHandle | None = None
        self._loop.add_reader(bell, self._on_bell)
        self._look()
        self._report_timer = self._loop.call_soon(self._report)
        port.flush_soon()  # tells the supervisor that this link is there

    def close(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self._bell)
        self._report_timer.cancel()
        for timer in (self._rest, self._retry):
            if timer is not None:
                timer.cancel()
        for job in self._jobs.values():
            job.cancel()

    def _on_bell(self) -> None:
        doorbell.wait(self._bell)
        self._look()

    def _look(self) -> None:
        """Take every result there is, then sleep or rest; then have the link do what it can."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._take_results()
        if len(self._port.outbox) >= doze.BUSY_RESULTS and self._rests < doze.MOST_LINK_RESTS:
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
            if self._retry is None:
                self._retry = self._loop.call_later(_NOT_NOW_PAUSE_S, self._look_again)

    def _look_again(self) -> None:
        self._retry = None
        self._look()

    def _take_result(self, record: bytes) -> None:
        self._port.outbox.append(link_frame.decode_result(record, self._incoming.take_parcel))

    def _obey(self) -> None:
        cell = self._cell
        held = cell.is_held
        if self._was_held and not held:
            self._port.gate.reopen()
        self._was_held = held
        self._obey_stop(cell.stop_number)
        if cell.is_flushing and len(self._port.outbox):
            self._run_once("flush", self._send_all)

    def _run_once(self, name: str, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if name not in self._jobs:
            self._jobs[name] = supervised(job(), f"the {name} that the supervisor asked for")

    def _obey_stop(self, number: int) -> None:
        if number == self._stop_number:
            return
        self._stop_number = number
        if (before := self._jobs.pop("stop", None)) is not None:
            before.cancel()  # who waits for polls, not the polls
        if number:
            self._run_once("stop", partial(self._stop, number))
        else:
            self._link.take_again()

    async def _stop(self, number: int) -> None:
        await self._link.stop_taking()
        self._port.say(link_frame.encode_stopped(number))

    async def _send_all(self) -> None:
        try:
            await self._link.flush(_FLUSH_S)
        finally:
            del self._jobs["flush"]  # results that come later need another one

    def _report(self) -> None:
        self._report_timer = self._loop.call_later(_REPORT_S, self._report)
        self._port.report_figures()
        failures = dict(self._port.stats.failures)
        if failures != self._failures:
            self._failures = failures
            self._port.say(link_frame.encode_failures(failures))
