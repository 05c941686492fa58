"""The handover from a channel to one with new credentials: the new one must be connected before it takes over.

    new channel ── connected ──────────────────────────────> it takes over
         └── not yet, after ``LATE_S``: a line, and
               ├─ the old one is connected ────────────────> calls go on there, and the new one is tried further
               └─ the old one is not, either ──────────────> it takes over: there is nothing to lose

So a certificate that the hub does not accept costs a line in the log, and not the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import grpc
import grpc.aio

LATE_S: Final = 10.0
_READY: Final = grpc.ChannelConnectivity.READY


async def until_it_may_take_over(new: grpc.aio.Channel, old: grpc.aio.Channel, on_late: Callable[[], None]) -> None:
    """Return when ``new`` is connected, or ``old`` is not any more. ``on_late``: called once if that takes long."""
    told = False
    while True:
        try:
            async with asyncio.timeout(LATE_S):
                while (state := new.get_state(try_to_connect=True)) is not _READY:
                    await new.wait_for_state_change(state)
                return
        except TimeoutError:
            if old.get_state() is not _READY:
                return
        if not told:
            told = True
            on_late()
