"""The hub link over the stream protocol: a shell around ``arbd.links.stream.session``, which decides everything.

    ┌─> pause ─> connect ─> read  ──frame──> session.receive ──> port.take, cancel;    outbox.ack
    │                       write <──frame── session.data_to_send <── outbox.take, port.free_slots
    └──────────── the stream ended ──────────┘

One writer, without a timer: it sends when there is something to say, and what piles up meanwhile goes into the next
frame. An idle link writes at once; a busy one carries batches.

New credentials: a channel with them is opened beside the old, and when it is connected the stream is ended and opened
again there; what was on its way is set right by the hello, as after any other end.

Invariants: one stream at a time; no frame of an old stream is looked at after a new one was opened; a wait is always on
an event, a call or a timer that is there. A call on a stream may be cancelled, other than a poll: what was on its way
is set right by the next hello. Whatever raises, another stream follows, after a pause, so that results go out; what
nobody expected goes to the loop's exception handler (``arbd.supervised``).
"""

from __future__ import annotations

import asyncio
import math
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, cast

import grpc
import grpc.aio
import msgspec

from arbd.core.backoff import Backoff
from arbd.links.alarm import Alarm
from arbd.links.base import OVERDUE_S, HubPort, LinkHealth
from arbd.links.condition import HubCondition
from arbd.links.ending import close_channel, end, until_empty
from arbd.links.handover import until_it_may_take_over
from arbd.links.options import LinkOptions
from arbd.links.pace import TokenGate
from arbd.links.stream.session import Identity, ProviderPhase, ProviderSession, Received
from arbd.model.description import ActionInfo
from arbd.settings.table import Settings
from arbd.supervised import is_being_cancelled, report, supervised
from arbd.wire import stream_frames as frames
from arbd.wire.grpc_channel import channel_options, open_channel
from arbd.wire.stream_frames import StreamError

_RETRY_MIN_S: Final = 0.05
_RETRY_MAX_S: Final = 2.0
_LEAVE_MIN_S: Final = 0.05  # whatever a hub that goes away asks for
_LEAVE_MAX_S: Final = 60.0
_JITTER: Final = 0.5  # so much longer at most: not all providers of a hub come back at one moment
_RETIRE_S: Final = 1.0
_SAY_AGAIN_S: Final = 60.0  # between two lines about a hub that goes away
_EOF: Final = grpc.aio.EOF  # type: ignore[attr-defined] # missing in grpc-stubs
_REFUSED: Final = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})

Call = grpc.aio.StreamStreamCall[bytes, bytes]


def ignore() -> None:
    """The callback that does nothing."""


class GrpcStreamLink:
    """A ``HubLink`` over one grpc.aio stream. Counters and the state of the connection are in ``stats``.

    ``on_open`` is called when a hub has said welcome, ``on_unimplemented`` when it does not know the stream protocol;
    the link tries again when that connection has ended. Raises ``ConfigError`` for a URL that cannot be used.
    """

    def __init__(
        self,
        options: LinkOptions,
        *,
        logger: Any = None,
        on_open: Callable[[], None] = ignore,
        on_unimplemented: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._condition = HubCondition(options, "stream", logger)
        self.stats = self._condition.stats
        self._log = self._condition.log
        self.sends_one_by_one = False
        self._options = options
        self._on_open = on_open
        self._on_unimplemented = on_unimplemented
        self._backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
        self._gate = TokenGate(options.refused_interval_s)
        self._identity = Identity(options.provider, options.token, uuid.uuid4().hex, options.max_receive)
        self._wake = asyncio.Event()  # the writer's bell
        self._progress = asyncio.Event()  # set with every frame, and when a stream ends: for those who wait for an end
        self._alarm = Alarm(self._on_time)
        self._call: Call | None = None
        self._silent = False
        self._leave_s = 0.0
        self._said_at = -math.inf
        self._actions: Sequence[ActionInfo] = ()
        self._loop_task: asyncio.Task[None] | None = None
        self._channel: grpc.aio.Channel | None = None
        self._way = (options.tls_options, options.tls, options.max_receive)  # of the newest channel, or the one to come
        self._renewal: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._is_renewed = False  # the stream ends for that
        self._hurry = asyncio.Event()  # pauses end: the hub is asked with something new

    # -- the HubLink interface -----------------------------------------------------------------------------

    def health(self, now: float) -> LinkHealth:
        task, session = self._loop_task, self._session
        overdue = ""
        if task is not None and task.done():
            overdue = "what serves the stream has ended"
        elif session.phase is not ProviderPhase.CLOSED and now > session.next_timeout() + OVERDUE_S:
            overdue = "the stream's time has passed, and nothing has followed from it"
        return LinkHealth(overdue, may_send=session.is_answered)

    async def start(self, port: HubPort) -> None:
        self._port = port
        self._session = ProviderSession(
            self._identity,
            port.outbox,
            too_large=self._options.too_large_result,
            answer_timeout_s=self._options.submit_timeout_s,
        )
        self._channel = self._open_channel()
        self._loop_task = supervised(self._serve(), "the stream to the hub")

    def renew(self, settings: Settings, options: LinkOptions) -> None:
        before, self._options = self._options, options
        self._identity = msgspec.structs.replace(self._identity, token=options.token, max_frame=options.max_receive)
        self._condition.renew(options)
        way, self._way = self._way, (options.tls_options, options.tls, options.max_receive)
        if self._channel is None:
            return
        self._session.renew(self._identity, options.submit_timeout_s)
        if way != self._way:
            if self._renewal is not None:
                self._renewal.cancel()
            self._renewal = supervised(self._renew(), "a stream with new credentials")
        elif before.token != options.token:
            self._begin_anew()

    def slots_changed(self) -> None:
        self._wake.set()

    def results_ready(self) -> None:
        self._wake.set()

    async def stop_taking(self) -> None:
        self._session.stop_taking()
        self._wake.set()
        self._arm()  # a hub that has not said welcome yet has less time now
        while self._session.is_stopping and not self._session.is_quiet:
            self._progress.clear()
            await self._progress.wait()

    def take_again(self) -> None:
        self._session.take_again()
        self._wake.set()
        self._progress.set()

    async def flush(self, timeout: float) -> bool:
        self._wake.set()
        return await until_empty(self._port.outbox, self._progress, timeout)

    async def close(self) -> None:
        if self._loop_task is not None:
            await end([self._loop_task])
            self._progress.set()
        if self._renewal is not None:
            await end([self._renewal])
        await end(self._retiring)
        if self._channel is not None:
            await close_channel(self._channel)

    # -- streams, one after the other ----------------------------------------------------------------------

    def _open_channel(self) -> grpc.aio.Channel:
        options = channel_options(max_send=-1, max_receive=self._options.max_receive)
        return open_channel(self._condition.target, self._options.tls_options, options)

    async def _renew(self) -> None:
        """Have a channel with the credentials of now take over, once it is connected."""
        while True:
            try:
                new = self._open_channel()
                break
            except OSError:
                await asyncio.sleep(_RETRY_MAX_S)
        assert self._channel is not None
        try:
            await until_it_may_take_over(new, self._channel, self._condition.renewal_is_late)
        except BaseException:
            self._retire(new)
            raise
        old, self._channel = self._channel, new
        self._begin_anew()
        self._retire(old)
        self._condition.renewed()

    def _retire(self, channel: grpc.aio.Channel) -> None:
        retiring = supervised(self._close_later(channel), "a channel that was replaced")
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def _close_later(self, channel: grpc.aio.Channel) -> None:
        try:
            await asyncio.sleep(_RETIRE_S)  # its stream is being ended
        finally:
            await close_channel(channel)

    def _begin_anew(self) -> None:
        """End the stream, and every pause before the next one: it begins with something that the hub has not seen."""
        self._gate.renewed()
        self._hurry.set()
        if self._call is not None:
            self._is_renewed = True
            self._call.cancel()

    async def _pause(self, seconds: float) -> None:
        """Wait for so long, or until there is something new to begin with."""
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass

    async def _serve(self) -> None:
        while True:
            try:
                await self._pause(max(self._leave_s, self._gate.start_at(_now()) - _now()))
                self._hurry.clear()
                self._leave_s = 0.0
                self._gate.started(_now())
                await self._ended(*await self._one_stream())
            except asyncio.CancelledError:
                if is_being_cancelled():
                    raise
                await asyncio.sleep(self._backoff.next_s())  # something of gRPC's was cancelled under us
            except Exception as error:
                report(error, "the stream to the hub")
                await asyncio.sleep(self._backoff.next_s())

    async def _one_stream(self) -> tuple[grpc.StatusCode, str]:
        """Open a stream and serve it to its end; how it ended."""
        async with AsyncExitStack() as at_end:  # the last line first, and each of them whatever the others raise
            at_end.callback(self._progress.set)
            at_end.callback(self._session.close)
            at_end.callback(self._alarm.cancel)
            self._session.open()
            self._silent = False
            self._is_renewed = False
            assert self._channel is not None
            try:
                self._call = call = self._channel.stream_stream(frames.METHOD, None, None)(None)
            except OSError as error:
                return grpc.StatusCode.UNAVAILABLE, str(error)  # nothing left to make the call with
            at_end.callback(self._forget_call)
            writer = supervised(self._write(call), "frames to the hub")
            writer.add_done_callback(lambda task: task.cancelled() or task.exception() is None or call.cancel())
            at_end.push_async_callback(end, [writer])
            at_end.callback(call.cancel)
            try:
                return await self._read(call)
            except asyncio.CancelledError:
                if is_being_cancelled():
                    raise
                if self._silent:
                    return grpc.StatusCode.DEADLINE_EXCEEDED, "the hub has fallen silent"
                return grpc.StatusCode.CANCELLED, "by this side"

    def _forget_call(self) -> None:
        self._call = None

    async def _read(self, call: Call) -> tuple[grpc.StatusCode, str]:
        try:
            while (data := await call.read()) is not _EOF:
                self._on_frame(cast(bytes, data))
                if self._leave_s:
                    return grpc.StatusCode.OK, ""
            return await call.code(), await call.details() or ""
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        except StreamError as error:
            return grpc.StatusCode.DATA_LOSS, str(error)
        except OSError as error:
            return grpc.StatusCode.UNAVAILABLE, str(error)  # likewise

    async def _ended(self, code: grpc.StatusCode, details: str) -> None:
        """Decide what follows from the end of a stream, and wait as long as that asks for."""
        if self._leave_s or self._is_renewed:
            return  # as the hub asked, or for a stream with new credentials
        self.stats.failures[f"Connect {code.name}"] += 1
        try:
            if self._silent:
                await self._replace_channel()
            if code is grpc.StatusCode.UNIMPLEMENTED and self._on_unimplemented is not None:
                await self._on_unimplemented()
        except OSError as error:
            code, details = grpc.StatusCode.UNAVAILABLE, str(error)  # nothing left to open it with: once more
        if code in _REFUSED:
            self._gate.refused(_now())
            self._condition.trouble("refused", code.name, details)
            return
        self._condition.trouble("down", code.name, details)
        if code is grpc.StatusCode.UNIMPLEMENTED:
            await self._connection_lost()
        else:
            await self._pause(self._backoff.next_s())

    async def _replace_channel(self) -> None:
        silent, self._channel = self._channel, self._open_channel()
        self.stats.reconnects += 1
        if silent is not None:
            await close_channel(silent)

    async def _connection_lost(self) -> None:
        """Return when the connection on which the hub did not know the protocol has ended, or another one took over."""
        assert self._channel is not None
        lost = supervised(_lost(self._channel), "the end of a connection")
        hurried = supervised(self._hurry.wait(), "news for the hub")
        try:
            await asyncio.wait((lost, hurried), return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
            hurried.cancel()

    # -- one stream ----------------------------------------------------------------------------------------

    def _on_frame(self, data: bytes) -> None:
        """Take a frame. Raises ``StreamError`` if the stream cannot go on."""
        try:
            was_open = self._session.phase is ProviderPhase.OPEN
            received = self._session.receive(data, _now())
            self._count(received)
            try:
                if not was_open:
                    self._opened()
            finally:  # the session has these tasks now, and renews their leases: they must reach the port
                self._hand_over(received)
            self._settle(received)
        except StreamError:
            raise
        except Exception as error:
            report(error, "a frame of the hub")
            raise StreamError("this side could not go on: see unexpected_failure") from error
        self._arm()  # frames without results, which may be all that is left, are answered sooner
        self._wake.set()
        self._progress.set()

    def _count(self, received: Received) -> None:
        stats = self.stats
        stats.frames_in += 1
        stats.accepted = self._session.accepted
        stats.shortened = self._session.shortened
        stats.tasks += len(received.tasks)
        stats.cancels += len(received.cancel)

    def _hand_over(self, received: Received) -> None:
        try:
            if received.tasks:
                self._port.take(received.tasks)
        finally:
            if received.cancel:
                self._port.cancel(received.cancel)

    def _settle(self, received: Received) -> None:
        for task_id, why in received.refused:
            self.stats.dropped += 1
            reason = self._condition.clean(why)
            self._log.error("result_refused", task_id=task_id, reason=reason, hint="the hub never accepts it; dropped")
        if received.go_away is not None:
            pause_s = max(_LEAVE_MIN_S, min(_LEAVE_MAX_S, received.go_away.reconnect_after_s))
            self._leave_s = min(_LEAVE_MAX_S, pause_s * (1 + _JITTER * random.random()))
            if _now() >= self._said_at + _SAY_AGAIN_S:
                self._said_at = _now()
                reason = self._condition.clean(received.go_away.reason)
                self._log.info("hub_goes_away", reason=reason, reconnect_in_s=self._leave_s)

    def _opened(self) -> None:
        self._backoff.reset()
        self._arm()  # the welcome tells how often leases must be renewed
        self._gate.passed(_now())
        self._condition.up(protocol="stream")
        self._on_open()

    async def _write(self, call: Call) -> None:
        session, wake, stats = self._session, self._wake, self.stats
        while True:
            wake.clear()
            data = session.data_to_send(_now(), *self._offer())
            if data is None:
                await wake.wait()
                continue
            self._arm()
            stats.frames_out += 1
            try:
                await call.write(data)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the stream has ended: the reader hears how
            except OSError:
                call.cancel()  # nothing left to send it with
                return
            except asyncio.CancelledError:
                if is_being_cancelled():
                    raise
                return  # likewise

    def _offer(self) -> tuple[int, Sequence[ActionInfo]]:
        """How many tasks may come, and what can be run. A port that cannot say it must not keep results back."""
        try:
            slots, self._actions = self._port.free_slots(), self._port.actions
            return slots, self._actions
        except Exception as error:
            report(error, "slots for the hub")
            return 0, self._actions

    # -- time ----------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Be there when the session's next moment comes; it may be set too early by then, never too late."""
        at = self._session.next_timeout()
        if at < self._alarm.at:
            self._alarm.set(at)

    def _on_time(self) -> None:
        try:
            self._session.on_time(_now())
        except Exception as error:
            self._silent = isinstance(error, StreamError)
            if not self._silent:
                report(error, "the time of the stream")
            if self._call is not None:
                self._call.cancel()
            return
        self._wake.set()
        self._arm()


async def _lost(channel: grpc.aio.Channel) -> None:
    ready = grpc.ChannelConnectivity.READY
    while (state := channel.get_state(try_to_connect=True)) is not ready:
        await channel.wait_for_state_change(state)
    await channel.wait_for_state_change(ready)


_now = time.monotonic  # not loop.time(): uvloop's has whole milliseconds
