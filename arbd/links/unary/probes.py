"""Probes of a hub that says nothing, and what follows from them: is it gone, or does it merely hold its polls?

    nothing heard for ``SILENCE_S`` ─> probe ── answered ─> it lives; again after as long
                                         └── not within ``PROBE_S``: it is gone, "down" ─> a second connection
                                                  the first is answered: the hub had been stopped; polls go on there
                                                  only the second is: it takes over, polls on the first are cut
    a stop ─> probe each connection while polls are under way ─> those that stay unanswered are cut

A probe is a call of a method that no hub has: whatever answers it, UNIMPLEMENTED included, is alive. It carries
nothing, and it is no ping: hubs drop connections that ping often.

Invariants: a poll is cut only on a connection that left a probe unanswered for its whole time, in which this process
was running and nothing else was heard; a hub that answers is never asked twice within ``SILENCE_S``, a stop apart. A
call that waits is not cancelled by any of this: each probe has its own deadline.
"""

from __future__ import annotations

import asyncio
import enum
import time
from typing import Final

import grpc
import grpc.aio

from arbd.links.unary.calls import CallState
from arbd.supervised import is_being_cancelled, supervised

SILENCE_S: Final = 5.0
PROBE_S: Final = 2.0
_OWN_S: Final = 0.5
"""A probe that ends so much later than it should says nothing of the hub: this process was not running."""
_AGAIN_S: Final = 1.0  # until what could not be done is tried again
_EARLY_S: Final = 0.1  # before its time a deadline has been somebody else's, who answered
_NOT_HEARD: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})  # gRPC may say so by itself


class ProbeAnswer(enum.Enum):
    """What came of a probe. ``UNCLEAR``: the connection broke, where calls end by themselves; or this process slept."""

    HEARD = "heard"
    NOTHING = "nothing"
    UNCLEAR = "unclear"


async def probe(channel: grpc.aio.Channel) -> ProbeAnswer:
    """Ask whether there is life at the other end; in bounded time."""
    began_at = time.monotonic()
    try:
        await channel.unary_unary("/Hub/Probe", None, None)(b"", timeout=PROBE_S)
    except grpc.aio.AioRpcError as error:
        return _judge(error.code(), time.monotonic() - began_at)
    except OSError:  # nothing left to make the call with
        return ProbeAnswer.UNCLEAR
    except asyncio.CancelledError:
        if is_being_cancelled():
            raise
        return ProbeAnswer.UNCLEAR  # its channel was closed
    return ProbeAnswer.HEARD


def _judge(code: grpc.StatusCode, took_s: float) -> ProbeAnswer:
    if code in _NOT_HEARD:
        return ProbeAnswer.UNCLEAR
    if code is not grpc.StatusCode.DEADLINE_EXCEEDED or took_s < PROBE_S - _EARLY_S:
        return ProbeAnswer.HEARD
    return ProbeAnswer.NOTHING if took_s < PROBE_S + _OWN_S else ProbeAnswer.UNCLEAR


class Probes:
    """The probes of a link, which begin as soon as this is made."""

    def __init__(self, calls: CallState) -> None:
        self._calls = calls
        self._connection = calls.connection
        self._is_stopping = False
        self._asked = asyncio.Event()  # a stop has begun
        self._stop: asyncio.Task[None] | None = None
        self._watch = supervised(self._watch_silence(), "probes of the hub")

    @property
    def crew(self) -> list[asyncio.Task[None]]:
        """What runs, to be ended with the link."""
        return [self._watch] if self._stop is None else [self._watch, self._stop]

    def stop(self) -> None:
        """Polls are to end: find out now whether the hub is there to answer them."""
        self._is_stopping = True
        self._asked.set()
        if self._stop is None or self._stop.done():
            self._stop = supervised(self._cut_what_is_silent(), "probes at the stop")

    def go_on(self) -> None:
        """The opposite of ``stop``."""
        self._is_stopping = False

    # -- in service ------------------------------------------------------------------------------------------

    async def _watch_silence(self) -> None:
        while True:
            await asyncio.sleep(max(0.0, self._connection.heard_at + SILENCE_S - time.monotonic()) or SILENCE_S)
            if time.monotonic() < self._connection.heard_at + SILENCE_S or not self._expects_words():
                continue
            channel = self._connection.channel
            answer = await self._ask(channel)
            if answer is ProbeAnswer.HEARD:
                self._connection.heard(time.monotonic())
            elif answer is ProbeAnswer.NOTHING and self._connection.channel is channel and not self._is_stopping:
                await self._reconnect(channel)

    def _expects_words(self) -> bool:
        """Whether it is worth while to ask: a call waits, or the hub counts as connected."""
        calls = self._calls
        return bool(calls.polls.under_way or calls.submits.under_way or calls.stats.state == "up")

    async def _reconnect(self, silent: grpc.aio.Channel) -> None:
        """Find out whether another connection reaches the hub, and have it take over then."""
        was_up = self._calls.silent(PROBE_S)
        try:
            beside = self._connection.open_beside()
        except OSError:
            await asyncio.sleep(_AGAIN_S)
            return
        answer = ProbeAnswer.NOTHING
        try:
            while answer is ProbeAnswer.NOTHING and self._connection.channel is silent:
                answer, other = await asyncio.gather(self._ask(silent), probe(beside))
                if answer is ProbeAnswer.NOTHING and other is ProbeAnswer.HEARD:
                    answer = other
                    self._connection.take_over(beside, silent)
        finally:
            self._connection.discard(beside)
        if answer is ProbeAnswer.HEARD and self._connection.channel in (silent, beside):
            self._connection.heard(time.monotonic())
            self._calls.alive(was_up)

    # -- at a stop -------------------------------------------------------------------------------------------

    async def _cut_what_is_silent(self) -> None:
        while self._is_stopping and self._calls.polls.under_way:
            self._asked.clear()
            channels = self._connection.channels
            answers = await asyncio.gather(*(self._ask(channel) for channel in channels))
            silent = [each for each, answer in zip(channels, answers, strict=True) if answer is ProbeAnswer.NOTHING]
            if self._is_stopping:
                for channel in silent:
                    self._calls.cut(channel, PROBE_S)
            await self._pause(SILENCE_S if not silent else _AGAIN_S)

    async def _pause(self, seconds: float) -> None:
        """Until the next look, or the next stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            pass

    async def _ask(self, channel: grpc.aio.Channel) -> ProbeAnswer:
        """Probe; what the hub has said otherwise meanwhile counts just as well."""
        began_at = time.monotonic()
        answer = await probe(channel)
        return ProbeAnswer.HEARD if self._connection.heard_at >= began_at else answer
