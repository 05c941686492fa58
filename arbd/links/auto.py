"""The link for ``hub.protocol = auto``: the stream where the hub has it, the unary protocol where not.

    stream link ──on_unimplemented──> a unary link takes over        remembered until the connection ends:
         └────────on_open───────────> the stream link takes over     the hub that answers then may be another one

The stream link lives as long as this one; a unary link is made when it is needed, and ended when it is not. Both take
from the same outbox, so a result is with one of them at a time, and both give tasks to the same port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from arbd.links.base import HubLink, HubPort, LinkHealth
from arbd.links.ending import end, run_all
from arbd.links.options import LinkOptions
from arbd.links.stream.link import GrpcStreamLink
from arbd.model.link_stats import LinkStats
from arbd.supervised import supervised


class AutoLink:
    """A ``HubLink`` that finds out what the hub speaks. ``make_unary`` makes the link for one without streams."""

    def __init__(self, options: LinkOptions, make_unary: Callable[[], HubLink], *, logger: Any = None) -> None:
        self._make_unary = make_unary
        self._stream = GrpcStreamLink(
            options, logger=logger, on_open=self._use_stream, on_unimplemented=self._use_unary
        )
        self._unary: HubLink | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def stats(self) -> LinkStats:
        """Those of the link in use."""
        return self._active.stats

    @property
    def sends_one_by_one(self) -> bool:
        """As the link in use does."""
        return self._active.sends_one_by_one

    @property
    def _active(self) -> HubLink:
        return self._stream if self._unary is None else self._unary

    def health(self, now: float) -> LinkHealth:
        stream = self._stream.health(now)
        if self._unary is None:
            return stream
        unary = self._unary.health(now)
        return LinkHealth(stream.overdue or unary.overdue, unary.may_send)

    async def start(self, port: HubPort) -> None:
        self._port = port
        await self._stream.start(port)

    def slots_changed(self) -> None:
        self._active.slots_changed()

    def results_ready(self) -> None:
        self._active.results_ready()

    async def stop_taking(self) -> None:
        self._stopping = True
        links: list[HubLink] = [self._stream, *([] if self._unary is None else [self._unary])]
        await run_all((link.stop_taking() for link in links), "the end of polls")
        while self._retiring:
            await asyncio.wait(self._retiring)

    async def flush(self, timeout: float) -> bool:
        return await self._active.flush(timeout)

    async def close(self) -> None:
        await self._stream.close()
        await end(self._retiring)
        if self._unary is not None:
            await self._unary.close()

    # -- which one -----------------------------------------------------------------------------------------

    async def _use_unary(self) -> None:
        if self._unary is None:
            unary = self._make_unary()
            await unary.start(self._port)  # raises OSError if there is nothing left to start it with: asked again later
            self._unary = unary
            if self._stopping:
                await unary.stop_taking()
            unary.results_ready()

    def _use_stream(self) -> None:
        if self._unary is not None:
            retiring = supervised(_retire(self._unary), "a link that is not needed any more")
            self._unary = None
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retiring.discard)


async def _retire(unary: HubLink) -> None:
    """End a unary link. Its polls end by themselves, since one may bring a task; a result that is under way then goes
    by the stream once more, and the hub drops the second copy."""
    try:
        await unary.stop_taking()
    finally:
        await unary.close()
