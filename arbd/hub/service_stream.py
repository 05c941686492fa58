"""The stream protocol (protos/arbd_v1.proto) of an embedded hub: the shell around ``arbd.hub.desk``.

    read ──frame──> desk.receive ──finished──> watchers          two coroutines per stream, one for each direction
    write <──frame── desk.next_frame   <──wake── tasks_waiting

The writer has no timer: what has piled up while one frame was written goes into the next one, so a single task is sent
at once and a busy stream carries batches.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import grpc
import grpc.aio

from arbd.hub.desk import Desk, StreamPeer
from arbd.hub.presence import StreamOf
from arbd.hub.state import CallContext, HubState, guarded
from arbd.supervised import is_being_cancelled, supervised
from arbd.wire import stream_frames as frames
from arbd.wire.grpc_channel import MAX_MESSAGE
from arbd.wire.stream_frames import GoAway, Hello, StreamError

_EOF: Final = grpc.aio.EOF  # type: ignore[attr-defined] # missing in grpc-stubs
_SERVICE, _METHOD = frames.METHOD.strip("/").split("/")
_LEAVE_S: Final = 0.3  # how long providers get to end their streams by themselves when the hub stops
_RECONNECT_S: Final = 0.1


class _Line:
    """One stream: its peer at the desk, its call, and the writer's bell."""

    def __init__(self, peer: StreamPeer, context: CallContext) -> None:
        self.peer = peer
        self.context = context
        self.wake = asyncio.Event()
        self.ended = asyncio.Event()
        self.reader: asyncio.Task[Any] | None = asyncio.current_task()


class StreamService:
    """The stream service (Connect) over one board."""

    def __init__(self, state: HubState) -> None:
        self._state = state
        self.desk = Desk(state.board, max_frame=min(state.options.max_message, MAX_MESSAGE))
        self._lines: dict[int, _Line] = {}  # by identity of the peer
        state.on_tasks_waiting(self._wake_all)
        state.on_cancel(self._cancel)

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """The service as gRPC takes it, to be added to a server."""
        return grpc.method_handlers_generic_handler(
            _SERVICE, {_METHOD: grpc.stream_stream_rpc_method_handler(guarded(self._connect))}
        )

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._lines)

    def open_streams(self) -> list[StreamOf]:
        """The streams that have said whose they are."""
        peers = [line.peer for line in self._lines.values() if line.peer.key and line.peer.is_connected]
        return [StreamOf(peer.name, [each.name for each in peer.actions]) for peer in peers]

    async def stop(self) -> None:
        """Have every provider leave, and give it a moment for that."""
        for peer in self.desk.go_away(GoAway("the hub stops", _RECONNECT_S)):
            self._wake(peer)
        readers = [line.ended.wait() for line in self._lines.values()]
        try:
            async with asyncio.timeout(_LEAVE_S):
                await asyncio.gather(*readers)
        except TimeoutError:
            pass  # their streams end with the server

    async def _connect(self, _requests: Any, context: CallContext) -> None:
        self.desk.drop_gone()
        line = _Line(self.desk.open(), context)
        self._lines[id(line.peer)] = line
        writer = supervised(self._write(line), "frames to a provider")
        writer.add_done_callback(lambda _: self._end(line.peer))  # without a writer the stream is of no use
        try:
            await self._read(line)
        except StreamError as error:
            await context.abort(grpc.StatusCode.DATA_LOSS, str(error))
        finally:
            line.ended.set()
            writer.cancel()
            del self._lines[id(line.peer)]
            self.desk.close(line.peer)

    async def _read(self, line: _Line) -> None:
        context, peer, calls = line.context, line.peer, self._state.calls
        while (data := await context.read()) is not _EOF:
            frame = peer.session.receive(data)
            if frame is None or not peer.is_connected:
                continue  # a repetition; or another stream took the place of this one, which is being ended
            calls["stream frames in"] += 1
            if frame.hello is not None:
                await self._check(frame.hello, context)
            effects = self.desk.settle(peer, frame, time.monotonic())
            if effects.replaced is not None:
                self._end(effects.replaced)
            if effects.finished:
                calls["stream results"] += len(effects.finished)
                self._state.finished(effects.finished)
            if effects.requeued:
                self._state.tasks_waiting()
            line.wake.set()

    async def _check(self, hello: Hello, context: CallContext) -> None:
        self._state.calls["Connect"] += 1
        await self._state.check_token(hello.token, context)
        if hello.version != frames.VERSION:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"this hub speaks version {frames.VERSION}")

    async def _write(self, line: _Line) -> None:
        context, peer, wake = line.context, line.peer, line.wake
        calls, next_frame = self._state.calls, self.desk.next_frame
        while True:
            await wake.wait()
            wake.clear()
            while (data := next_frame(peer, time.monotonic())) is not None:
                calls["stream frames out"] += 1
                self._state.arm_timer()
                try:
                    await context.write(data)
                except grpc.aio.BaseError:
                    return  # the stream has ended
                except asyncio.CancelledError:
                    if is_being_cancelled():
                        raise
                    return  # likewise

    def _wake_all(self) -> None:
        for line in self._lines.values():
            if line.peer.session.room > 0:
                line.wake.set()

    def _wake(self, peer: StreamPeer) -> None:
        line = self._lines.get(id(peer))
        if line is not None:
            line.wake.set()

    def _end(self, peer: StreamPeer) -> None:
        line = self._lines.get(id(peer))
        if line is not None and line.reader is not None:
            line.reader.cancel()

    def _cancel(self, task_id: str) -> None:
        peer = self.desk.cancel(task_id)
        if peer is not None:
            self._wake(peer)
