"""The Hub protocol (protos/hub.proto) of an embedded hub: two calls per task.

    GetTask ──> board.hand_out ──task──> reply             SubmitTaskResult ──> board.record_result ──> reply
                  │ none                   ^
                  └── waits, at most hold_s┘ <── tasks_waiting

It is the other side in every benchmark, so messages are handled as bytes and a task goes to a waiting poll directly.
A call's metadata may have it held more briefly than ``hold_s``, and ask for the lease (``arbd.wire.call_metadata``). It
is looked at only when there is nothing to hand out at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from typing import Any, Final

import grpc
import grpc.aio

from arbd.hub.board import Receipt
from arbd.hub.presence import Callers
from arbd.hub.state import CallContext, HubState, guarded
from arbd.model.task import Task
from arbd.wire.call_metadata import LEASE_KEY, LONG_POLL_KEY, TELL_LEASE_KEY, Metadata, milliseconds, seconds_of
from arbd.wire.pb import hub_pb2 as pb

_NO_TASK: Final = b""  # an empty Task on the wire


class UnaryService:
    """The Hub service (GetTask and SubmitTaskResult) over one board."""

    def __init__(self, state: HubState) -> None:
        self._state = state
        self._board = state.board
        self._callers = Callers()
        self._polls: deque[tuple[str, asyncio.Future[Task | None]]] = deque()  # held, oldest first
        state.on_tasks_waiting(self.feed_polls)

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """The service as gRPC takes it, to be added to a server."""
        handlers = {
            "GetTask": grpc.unary_unary_rpc_method_handler(guarded(self._get_task)),
            "SubmitTaskResult": grpc.unary_unary_rpc_method_handler(guarded(self._submit_result)),
        }
        return grpc.method_handlers_generic_handler("Hub", handlers)

    @property
    def held(self) -> int:
        """How many polls wait for a task."""
        return sum(1 for _, poll in self._polls if not poll.done())

    def polls_of(self) -> Counter[str]:
        """How many polls of each provider wait for a task."""
        return Counter(name for name, poll in self._polls if not poll.done())

    def recent_callers(self) -> set[str]:
        """The providers that asked for a task a moment ago."""
        return self._callers.recent(time.monotonic())

    def stop(self) -> None:
        """Answer held polls with "nothing"."""
        while self._polls:
            _, poll = self._polls.popleft()
            if not poll.done():
                poll.set_result(None)

    async def _get_task(self, data: bytes, context: CallContext) -> bytes:
        calls = self._state.calls
        calls["GetTask"] += 1
        request = pb.ProviderRequest.FromString(data)
        await self._state.check_token(request.auth_token, context)
        now = time.monotonic()
        self._callers.note(request.provider, now)
        task = self._board.hand_out(request.provider, now)
        if task is None:
            task = await self._hold_call(request.provider, context)
        if task is not None:
            self._state.arm_timer()
            return _encode_task(task)
        calls["GetTask empty"] += 1
        if self._state.options.no_task == "not_found":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no task")
        return _NO_TASK

    async def _hold_call(self, provider: str, context: CallContext) -> Task | None:
        options = self._state.options
        metadata: Metadata = context.invocation_metadata() or ()
        hold_s = seconds_of(metadata, LONG_POLL_KEY)
        if any(key == TELL_LEASE_KEY for key, _ in metadata):
            await context.send_initial_metadata(((LEASE_KEY, milliseconds(options.lease_s)),))
            task = self._board.hand_out(provider, time.monotonic())  # what came meanwhile found no poll here
            if task is not None:
                return task
        return await self._hold(provider, options.hold_s if hold_s is None else min(options.hold_s, hold_s))

    async def _hold(self, provider: str, hold_s: float) -> Task | None:
        if hold_s <= 0 or self._state.is_stopping:
            return None
        loop = asyncio.get_running_loop()
        poll: asyncio.Future[Task | None] = loop.create_future()
        self._polls.append((provider, poll))
        timer = loop.call_later(hold_s, _end_hold, poll)
        try:
            return await poll
        except asyncio.CancelledError:
            # The provider is gone. A task that was just given to this poll must not wait for its lease to end.
            if poll.done() and not poll.cancelled() and (task := poll.result()) is not None:
                self._board.give_back(task.id, provider, time.monotonic())
                self._state.tasks_waiting()
            raise
        finally:
            timer.cancel()

    def feed_polls(self) -> None:
        """Give queued tasks to held polls, oldest poll first; polls that ended are dropped on the way."""
        now = time.monotonic()
        unfed: list[tuple[str, asyncio.Future[Task | None]]] = []
        while self._polls and self._board.queued:
            provider, poll = self._polls.popleft()
            if poll.done():
                continue
            task = self._board.hand_out(provider, now)
            if task is None:
                unfed.append((provider, poll))
            else:
                poll.set_result(task)
        self._polls.extendleft(reversed(unfed))

    async def _submit_result(self, data: bytes, context: CallContext) -> bytes:
        self._state.calls["SubmitTaskResult"] += 1
        message = pb.TaskResult.FromString(data)
        await self._state.check_token(message.auth_token, context)
        result = message.result.encode()
        receipt = self._board.record_result(message.id, message.provider, message.status, result, time.monotonic())
        if receipt is Receipt.UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"task {message.id!r} was never handed out here")
        if receipt is Receipt.INVALID:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{message.status!r} is no status")
        self._state.finished([message.id])
        return self._submit_answer(message)

    def _submit_answer(self, message: pb.TaskResult) -> bytes:
        if self._state.options.submit_reply == "echo":
            payload, account = message.payload.encode(), message.account.encode()
            return _encode_task(Task(message.id, message.action, payload, account))
        return _NO_TASK


def _end_hold(poll: asyncio.Future[Task | None]) -> None:
    if not poll.done():
        poll.set_result(None)


def _encode_task(task: Task) -> bytes:
    return pb.Task(id=task.id, action=task.action, payload=task.payload, account=task.account).SerializeToString()
