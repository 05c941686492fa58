"""The hub link over the stream protocol: a shell around ``arbd.hub.stream.provider``, which decides everything.

    ┌─> pause ─> connect ─> read  ──frame──> session.receive ──> port.on_tasks, on_cancel; outbox.ack
    │                       write <──frame── session.data_to_send <── outbox.take, port.free_slots
    └──────────── the stream ended ──────────┘

One writer, without a timer: it sends when there is something to say, and what piles up meanwhile goes into the next
frame. An idle link writes at once; a busy one carries batches.

Invariants: one stream at a time; no frame of an old stream is looked at after a new one was opened; a wait is always on
an event, a call or a timer that is there. A call on a stream may be cancelled, other than a poll: what was on its way
is set right by the next hello.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, cast

import grpc
import grpc.aio
import structlog

from arbd.hub.base import HubPort
from arbd.hub.channel import channel_options, open_channel, parse_url
from arbd.hub.grpc_unary import LinkOptions
from arbd.hub.pace import Backoff, TokenGate
from arbd.hub.stats import LinkStats
from arbd.hub.stream import frames
from arbd.hub.stream.frames import StreamError
from arbd.hub.stream.provider import Identity, Phase, ProviderSession, Received

_RETRY_MIN_S: Final = 0.05
_RETRY_MAX_S: Final = 2.0
_DETAILS_MAX: Final = 200  # characters of a hub's own words that go to the log
_EOF: Final = grpc.aio.EOF  # type: ignore[attr-defined] # missing in grpc-stubs
_REFUSED: Final = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})

Call = grpc.aio.StreamStreamCall[bytes, bytes]


def ignore() -> None:
    """For those who do not want to be told."""


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
        self.stats = LinkStats(protocol="stream")
        self.patience_s = 0.0
        self._options = options
        self._target = parse_url(options.url, options.tls)
        self._log = logger if logger is not None else structlog.get_logger("arbd.hub")
        self._on_open = on_open
        self._on_unimplemented = on_unimplemented
        self._backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S, random.random)
        self._gate = TokenGate(options.refused_interval_s)
        self._identity = Identity(options.provider, options.token, uuid.uuid4().hex, options.max_receive)
        self._wake = asyncio.Event()  # the writer's bell
        self._progress = asyncio.Event()  # set with every frame, and when a stream ends: for those who wait for an end
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._call: Call | None = None
        self._silent = False
        self._is_closing = False
        self._leave_s = 0.0
        self._loop_task: asyncio.Task[None] | None = None

    # -- the HubLink interface -----------------------------------------------------------------------------

    async def start(self, port: HubPort) -> None:
        self._port = port
        self._session = ProviderSession(
            self._identity,
            port.outbox,
            too_large=self._options.too_large_result,
            answer_timeout_s=self._options.submit_timeout_s,
        )
        self._open_channel()
        self._loop_task = asyncio.get_running_loop().create_task(self._serve())

    def slots_changed(self) -> None:
        self._wake.set()

    def results_ready(self) -> None:
        self._wake.set()

    async def stop_taking(self) -> None:
        self._session.stop_taking()
        self._wake.set()
        while not self._session.is_quiet:
            self._progress.clear()
            await self._progress.wait()

    async def flush(self, timeout: float) -> bool:
        self._wake.set()
        try:
            async with asyncio.timeout(timeout):
                while len(self._port.outbox):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        self._is_closing = True
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
            await self._channel.close(None)

    # -- streams, one after the other ----------------------------------------------------------------------

    def _open_channel(self) -> None:
        options = channel_options(max_send=-1, max_receive=self._options.max_receive)
        self._channel = open_channel(self._target, self._options.tls_options, options)

    async def _serve(self) -> None:
        while True:
            await asyncio.sleep(max(self._leave_s, self._gate.start_at(_now()) - _now()))
            self._leave_s = 0.0
            self._gate.started(_now())
            code, details = await self._one_stream()
            await self._ended(code, details)

    async def _one_stream(self) -> tuple[grpc.StatusCode, str]:
        """Open a stream and serve it to its end; how it ended."""
        self._session.open()
        self._silent = False
        self._call = call = self._channel.stream_stream(frames.METHOD, None, None)(None)
        writer = asyncio.get_running_loop().create_task(self._write(call))
        writer.add_done_callback(lambda task: task.cancelled() or task.exception() is None or call.cancel())
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
        except asyncio.CancelledError:
            if self._is_closing:
                raise
            if self._silent:
                return grpc.StatusCode.DEADLINE_EXCEEDED, "the hub has fallen silent"
            return _how_it_was_cancelled(writer)
        except Exception as error:  # a bug of ours must not end the link
            return grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
        finally:
            call.cancel()
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            self._call = None
            self._session.close()
            self._disarm()
            self._progress.set()

    async def _ended(self, code: grpc.StatusCode, details: str) -> None:
        """Decide what follows from the end of a stream, and wait as long as that asks for."""
        if self._leave_s:
            return  # as the hub asked
        self.stats.failures[f"Connect {code.name}"] += 1
        if self._silent:
            self.stats.reconnects += 1
            await self._channel.close(None)
            self._open_channel()
        if code is grpc.StatusCode.UNIMPLEMENTED:
            if self._on_unimplemented is not None:
                await self._on_unimplemented()
            self._note("down", code, details)
            await self._connection_lost()
            return
        if code in _REFUSED:
            self._gate.refused(_now())
            self._note("refused", code, details)
            return
        self._note("down", code, details)
        await asyncio.sleep(self._backoff.next_s())

    async def _connection_lost(self) -> None:
        """Return when the connection on which the hub did not know the protocol has ended."""
        ready = grpc.ChannelConnectivity.READY
        while (state := self._channel.get_state(try_to_connect=True)) is not ready:
            await self._channel.wait_for_state_change(state)
        await self._channel.wait_for_state_change(ready)

    def _note(self, state: Literal["down", "refused"], code: grpc.StatusCode, details: str) -> None:
        if not self.stats.changed_to(state):
            return
        token = self._options.token
        details = (details.replace(token, "***") if token else details)[:_DETAILS_MAX]
        words = {"hub": self._target.address, "code": code.name, "details": details}
        if state == "refused":
            self._log.error("hub_refuses_token", retry_every_s=self._options.refused_interval_s, **words)
        elif code is grpc.StatusCode.UNIMPLEMENTED:
            self._log.info("hub_without_stream", **words)
        else:
            self._log.warning("hub_unavailable", **words)

    # -- one stream ----------------------------------------------------------------------------------------

    def _on_frame(self, data: bytes) -> None:
        was_open = self._session.phase is Phase.OPEN
        received = self._session.receive(data, _now())
        stats, port = self.stats, self._port
        stats.frames_in += 1
        stats.accepted = self._session.accepted
        stats.shortened = self._session.shortened
        if not was_open:
            self._opened()
        if received.tasks:
            stats.tasks += len(received.tasks)
            port.on_tasks(received.tasks)
        if received.cancel:
            stats.cancels += len(received.cancel)
            port.on_cancel(received.cancel)
        self._settle(received)
        self._wake.set()
        self._progress.set()

    def _settle(self, received: Received) -> None:
        for task_id, reason in received.refused:
            self.stats.dropped += 1
            self._log.error("result_refused", task_id=task_id, reason=reason, hint="the hub never accepts it; dropped")
        if received.go_away is not None:
            self._leave_s = max(_RETRY_MIN_S, received.go_away.reconnect_after_s)
            self._log.info("hub_goes_away", reason=received.go_away.reason, reconnect_in_s=self._leave_s)

    def _opened(self) -> None:
        self._backoff.reset()
        self._arm()  # the welcome tells how often leases must be renewed
        self._gate.passed(_now())
        if self.stats.changed_to("up"):
            self._log.info("hub_connected", hub=self._target.address, protocol="stream")
        self._on_open()

    async def _write(self, call: Call) -> None:
        session, port, wake, stats = self._session, self._port, self._wake, self.stats
        while True:
            wake.clear()
            data = session.data_to_send(_now(), port.free_slots(), port.actions)
            if data is None:
                await wake.wait()
                continue
            self._arm()
            stats.frames_out += 1
            try:
                await call.write(data)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the stream has ended: the reader hears how

    # -- time ----------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Be there when the session's next moment comes; it may be set too early by then, never too late."""
        at = self._session.next_timeout()
        if at < self._timer_at:
            self._disarm()
            self._timer_at = at
            # One millisecond more: uvloop rounds, and a timer that fires early would be set again.
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at - _now()) + 0.001, self._on_time)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._timer_at = math.inf

    def _on_time(self) -> None:
        self._disarm()
        try:
            self._session.on_time(_now())
        except StreamError:
            self._silent = True
            if self._call is not None:
                self._call.cancel()
            return
        self._wake.set()
        self._arm()


def _how_it_was_cancelled(writer: asyncio.Task[None]) -> tuple[grpc.StatusCode, str]:
    error = writer.exception() if writer.done() and not writer.cancelled() else None
    if error is None:
        return grpc.StatusCode.CANCELLED, ""
    return grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"


_now = time.monotonic  # not loop.time(): uvloop's has whole milliseconds
