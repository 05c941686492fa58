"""The one connection of a unary link, replaced when it has gone silent, or for new credentials. Not the calls, nor when
to make them.

Half-open connections: the other end, or something between, forgot the connection without closing it. TCP notices in
minutes, if ever, and gRPC would go on using it. So when a call met its deadline and nothing was heard since it
began, a new channel takes over. Calls still under way stay on the old one until their own deadlines: they are not
cancelled, because an answer that is merely late may carry a task. Only a channel on which a probe had no answer is
closed at once (``probes``), with the calls on it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import grpc.aio

from arbd.links.ending import close_channel, end
from arbd.links.handover import until_it_may_take_over
from arbd.supervised import supervised
from arbd.wire.grpc_channel import Target, Tls, channel_options, open_channel

_AGAIN_S: Final = 1.0  # until it is tried again to open a channel that there was no descriptor for


class Way(NamedTuple):
    """What a channel is opened with."""

    target: Target
    tls: Tls
    max_receive: int

    def open(self) -> grpc.aio.Channel:
        """A channel. Raises ``OSError`` if there is nothing left to open one with."""
        # No limit for sending: results are fitted to what the hub takes before they get here.
        return open_channel(self.target, self.tls, channel_options(max_send=-1, max_receive=self.max_receive))


class Connection:
    """A connection to a hub. ``get_task`` and ``submit`` are the two methods, bytes to bytes, on the newest channel.

    ``longest_call_s``: no call takes longer, so a channel that was replaced can go after that time. Raises ``OSError``
    if there is nothing left to open one with.
    """

    def __init__(self, target: Target, tls: Tls, *, max_receive: int, longest_call_s: float) -> None:
        self._way = self._wanted = Way(target, tls, max_receive)
        self._longest_call_s = longest_call_s
        self.heard_at = -math.inf
        self._retiring: dict[grpc.aio.Channel, asyncio.Task[None]] = {}
        self._beside: grpc.aio.Channel | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._use(self._way.open())

    def _use(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.get_task = channel.unary_unary("/Hub/GetTask", None, None)
        self.submit = channel.unary_unary("/Hub/SubmitTaskResult", None, None)

    @property
    def channels(self) -> list[grpc.aio.Channel]:
        """All on which there may be calls."""
        return [self.channel, *self._retiring]

    def renew(
        self, way: Way, longest_call_s: float, on_late: Callable[[], None], on_renewed: Callable[[], None]
    ) -> None:
        """Have a channel that is opened so take over, once it is connected (``links.handover``); calls under way end on
        the old one."""
        self._longest_call_s = max(self._longest_call_s, longest_call_s)
        if way == self._wanted:
            return
        self._wanted = way
        if self._renewal is not None:
            self._renewal.cancel()
        self._renewal = supervised(self._renew(way, on_late, on_renewed), "a connection with new credentials")

    async def _renew(self, way: Way, on_late: Callable[[], None], on_renewed: Callable[[], None]) -> None:
        while True:
            try:
                new = way.open()
                break
            except OSError:
                await asyncio.sleep(_AGAIN_S)
        try:
            await until_it_may_take_over(new, self.channel, on_late)
        except BaseException:
            self._retire_soon(new, 0.0)
            raise
        old, self._way = self.channel, way
        self._use(new)
        self._retire_soon(old, self._longest_call_s)
        on_renewed()

    def heard(self, now: float) -> None:
        """The hub said something."""
        self.heard_at = now

    def replace_if_silent(self, started_at: float, now: float) -> bool:
        """A call that began at ``started_at`` met its deadline; whether the connection was replaced for it."""
        if self.heard_at >= started_at or self._beside is not None:
            return False
        return self._replace(now, self._longest_call_s)

    def _replace(self, now: float, after_s: float) -> bool:
        """Have a new channel take over, and the old one closed after so long."""
        silent = self.channel
        try:
            self._use(self._way.open())
        except OSError:
            return False  # nothing left to open one with: the next call that meets its deadline tries again
        self.heard_at = now  # other calls on the same dead connection give no second cause
        self._retire_soon(silent, after_s)
        return True

    def open_beside(self) -> grpc.aio.Channel:
        """A second channel, which may ``take_over`` or is ``discard``-ed. Raises ``OSError`` as ``Way.open`` does."""
        self._beside = self._way.open()
        return self._beside

    def take_over(self, beside: grpc.aio.Channel, silent: grpc.aio.Channel) -> None:
        """Use the second channel from now on, unless another has replaced the first meanwhile, which is closed with its
        calls."""
        if self.channel is silent:
            self._beside = None
            self._use(beside)
            self._retire_soon(silent, 0.0)

    def discard(self, beside: grpc.aio.Channel) -> None:
        """The second channel is not needed any more, if it has not taken over."""
        if self._beside is beside:
            self._beside = None
            self._retire_soon(beside, 0.0)

    def cut(self, channel: grpc.aio.Channel, now: float) -> bool:
        """Close a channel at once, with the calls on it; whether it could be done."""
        if channel is self.channel:
            return self._replace(now, 0.0)
        self._retire_soon(channel, 0.0)
        return True

    def _retire_soon(self, channel: grpc.aio.Channel, after_s: float) -> None:
        before = self._retiring.get(channel)
        if before is not None:
            before.cancel()  # it closes the channel now, if it has begun
        retiring = supervised(self._retire(channel, after_s), "a connection that was replaced")
        self._retiring[channel] = retiring
        retiring.add_done_callback(partial(self._has_retired, channel))

    def _has_retired(self, channel: grpc.aio.Channel, retiring: asyncio.Task[None]) -> None:
        if self._retiring.get(channel) is retiring:
            del self._retiring[channel]

    async def _retire(self, channel: grpc.aio.Channel, after_s: float) -> None:
        try:
            await asyncio.sleep(after_s)
        finally:
            await close_channel(channel)

    async def close(self) -> None:
        """Close every channel; calls under way are cancelled. Returns in bounded time, and never raises."""
        if self._renewal is not None:
            await end([self._renewal])
        await end(self._retiring.values())
        await close_channel(self.channel)
