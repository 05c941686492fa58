"""The link processes of a daemon, a fixed number: started, replaced when they end, and all ended at the close.

    start ─> ... ─> its pidfd: it has ended ─> owner.on_link_ended ─> another one, after a pause

Not what they carry: that is the group's business. A link that lived for a while is replaced at once; one that ends over
and over, later each time, and for ever: the daemon has a hub to reach. Whatever the owner raises when it is told, the
process is reaped, what it held is given back, and another one takes its place.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, Final, Protocol

from arbd.core.backoff import Backoff
from arbd.links.processes.handle import LinkHandle
from arbd.logs.notable import note
from arbd.model.link_stats import LinkStats, best_state, total
from arbd.settings.table import Settings
from arbd.wire.grpc_channel import Tls

_RESTART_MIN_S: Final = 0.1
_RESTART_MAX_S: Final = 10.0
_STEADY_S: Final = 10.0
_TICK_S: Final = 1.0
_DEAF_TICKS: Final = 30  # looks of ours, not seconds: a daemon that was stopped has not looked either
_END_TIMEOUT_S: Final = 2.0
_MOST_PENDING: Final = 64  # timers to be cancelled at the end; those further back have rung long ago


class LinkOwner(Protocol):
    """The owner of the links, which is told of each start and end."""

    def on_link_started(self, link: LinkHandle) -> None:
        """Its process exists, and has looked at nothing yet."""

    def on_link_ended(self, link: LinkHandle) -> None:
        """Its process is gone. Its memory can still be read; it is not among the links any more."""

    def on_tick(self) -> None:
        """Once a second, while there are links."""


class Roster:
    """The link processes that there are: ``links`` by number; ``count``: how many there should be. ``program``: the
    module that a link process runs."""

    def __init__(self, settings: Settings, tls: Tls, program: str, log: Any, owner: LinkOwner) -> None:
        self.links: dict[int, LinkHandle] = {}
        self.count = 0
        self.changed = asyncio.Event()  # a link has ended
        self._settings = settings
        self._tls = tls
        self._program = program
        self._log = log
        self._owner = owner
        self._restart = Backoff(_RESTART_MIN_S, _RESTART_MAX_S)
        self._past = LinkStats()  # of links that have ended
        self._next_number = 1
        self._ticker: asyncio.TimerHandle | None = None
        self._pending: deque[asyncio.TimerHandle] = deque(maxlen=_MOST_PENDING)
        self._is_closing = False
        self._untold: set[int] = set()

    def stats(self) -> LinkStats:
        """The sum of all links, those that have ended included."""
        links = self.links.values()
        summed = total([self._past, *(link.stats for link in links)])
        summed.protocol = "unary"
        summed.state = best_state({link.state for link in links})
        summed.links = [link.describe() for link in links]
        return summed

    def start(self, bell: int, count: int) -> None:
        """Start ``count`` links. ``bell``: the doorbell that all of them ring."""
        self._bell = bell
        self._loop = asyncio.get_running_loop()
        self.count = count
        for _ in range(count):
            self._start()

    def renew(self, settings: Settings, tls: Tls) -> bool:
        """Tell each link to go by these, and those that are started from now on; whether the token is another one.
        A link that cannot be told now is told at a later ``retell``."""
        is_new_token = settings.hub_auth_token != self._settings.hub_auth_token
        self._settings = settings
        self._tls = tls
        self._untold = set(self.links)
        self.retell()
        return is_new_token

    def retell(self) -> None:
        """Tell those that could not be told before."""
        for number in list(self._untold):
            link = self.links.get(number)
            if link is None or link.renew(self._settings, self._tls):
                self._untold.discard(number)

    async def close(self) -> None:
        """End every link; kill those that do not end soon."""
        self._is_closing = True
        for timer in (self._ticker, *self._pending):
            if timer is not None:
                timer.cancel()
        for link in self.links.values():
            link.end()
            if not link.has_booted:
                link.kill()  # it has nothing, and hears of its end only when all is loaded: that may take seconds
        await self._wait_gone()
        for link in self.links.values():
            link.kill()
        await self._wait_gone()
        for link in list(self.links.values()):  # killed, and not gone: the kernel has it
            self._log.error("link_cannot_be_ended", link=link.number, pid=link.pid)
            self._forget(link)

    async def _wait_gone(self) -> None:
        try:
            async with asyncio.timeout(_END_TIMEOUT_S):
                while self.links:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            pass

    def _start(self) -> None:
        number = self._next_number
        self._next_number += 1
        try:
            link = LinkHandle(number, self._settings, self._tls, self._bell, self._program)
            self._watch(link)
        except OSError as error:
            note(self._log, "error", "link_not_started", link=number, reason=str(error))
            self._replace_later()
            return
        self.links[number] = link
        self._log.info("link_started", link=number, pid=link.pid)
        self._owner.on_link_started(link)
        if self._ticker is None:
            self._ticker = self._loop.call_later(_TICK_S, self._tick)

    def _watch(self, link: LinkHandle) -> None:
        try:
            self._loop.add_reader(link.pidfd, self._on_exit, link)
        except OSError:
            link.kill()
            link.reap()
            raise

    def _replace_later(self) -> None:
        self._pending.append(self._loop.call_later(self._restart.next_s(), self._replace))

    def _replace(self) -> None:
        if self.count > len(self.links) and not self._is_closing:
            self._start()

    def _on_exit(self, link: LinkHandle) -> None:
        try:
            self._forget(link)
        finally:
            self.changed.set()
            if not self._is_closing:
                if time.monotonic() - link.started_at > _STEADY_S:
                    self._restart.reset()
                self._replace_later()
            status = link.reap()
            if not self._is_closing:
                note(
                    self._log,
                    "error",
                    "link_lost",
                    link=link.number,
                    pid=link.pid,
                    status=status,
                    results=len(link.unacked),
                )

    def _forget(self, link: LinkHandle) -> None:
        self._loop.remove_reader(link.pidfd)
        del self.links[link.number]
        link.has_ended = True
        try:
            self._owner.on_link_ended(link)
        finally:
            self._past = total([self._past, link.stats])

    def _tick(self) -> None:
        """Also kill links that were rung and do not come round to look."""
        self._ticker = self._loop.call_later(_TICK_S, self._tick) if self.links else None  # whatever is raised below
        for link in self.links.values():
            if link.note_tick() == _DEAF_TICKS:
                note(self._log, "error", "link_hangs", link=link.number, pid=link.pid)
                link.kill()
        self.retell()
        self._owner.on_tick()
