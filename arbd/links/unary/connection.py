"""The one connection of a unary link, replaced when it has gone silent. Not the calls, nor when to make them.

Half-open connections: the other end, or something between, forgot the connection without closing it. TCP notices in
minutes, if ever, and gRPC would go on using it. So when a call met its deadline and nothing was heard since it
began, a new channel takes over. Calls still under way stay on the old one until their own deadlines: they are never
cancelled, because an answer that is merely late may carry a task.
"""

from __future__ import annotations

import asyncio
import math

import grpc.aio

from arbd.links.ending import close_channel, end
from arbd.supervised import supervised
from arbd.wire.grpc_channel import Target, Tls, channel_options, open_channel


class Connection:
    """A connection to a hub. ``get_task`` and ``submit`` are the two methods, bytes to bytes, on the newest channel.

    ``longest_call_s``: no call takes longer, so a channel that was replaced can go after that time. Raises ``OSError``
    if there is nothing left to open one with.
    """

    def __init__(self, target: Target, tls: Tls, *, max_receive: int, longest_call_s: float) -> None:
        self._target = target
        self._tls = tls
        # No limit for sending: results are fitted to what the hub takes before they get here.
        self._options = channel_options(max_send=-1, max_receive=max_receive)
        self._longest_call_s = longest_call_s
        self._heard_at = -math.inf
        self._retiring: set[asyncio.Task[None]] = set()
        self._open()

    def _open(self) -> None:
        self._channel = open_channel(self._target, self._tls, self._options)
        self.get_task = self._channel.unary_unary("/Hub/GetTask", None, None)
        self.submit = self._channel.unary_unary("/Hub/SubmitTaskResult", None, None)

    def heard(self, now: float) -> None:
        """The hub said something."""
        self._heard_at = now

    def replace_if_silent(self, started_at: float, now: float) -> bool:
        """A call that began at ``started_at`` met its deadline; whether the connection was replaced for it."""
        if self._heard_at >= started_at:
            return False
        silent = self._channel
        try:
            self._open()
        except OSError:
            return False  # nothing left to open one with: the next call that meets its deadline tries again
        self._heard_at = now  # other calls on the same dead connection give no second cause
        retiring = supervised(self._retire(silent), "a silent connection")
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        return True

    async def _retire(self, channel: grpc.aio.Channel) -> None:
        try:
            await asyncio.sleep(self._longest_call_s)
        finally:
            await close_channel(channel)

    async def close(self) -> None:
        """Close every channel; calls under way are cancelled. Returns in bounded time, and never raises."""
        await end(self._retiring)
        await close_channel(self._channel)
