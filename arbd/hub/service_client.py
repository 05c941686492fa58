"""The client service (protos/arbd_client.proto) of an embedded hub: submit tasks, await results, cancel, ask.

Where the hub was given tokens, each call carries one of them as metadata, ``authorization: Bearer <token>``.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import grpc
import grpc.aio

from arbd.hub.board import ForgottenError, NewTask, Result, SubmitError
from arbd.hub.presence import ProviderPresence
from arbd.hub.state import CallContext, HubState, guarded
from arbd.wire.pb import arbd_client_pb2 as client_pb

_RESULTS_PER_MESSAGE: Final = 256


class ClientService:
    """The client service over one board. ``counters``: what Stats tells beside the calls; ``present``: who is there."""

    def __init__(
        self,
        state: HubState,
        counters: Callable[[], dict[str, int]],
        present: Callable[[], list[ProviderPresence]],
    ) -> None:
        self._present = present
        self._state = state
        self._board = state.board
        self._counters = counters

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """The service as gRPC takes it, to be added to a server."""
        handlers = {
            "Submit": grpc.unary_unary_rpc_method_handler(guarded(self._checked(self._submit))),
            "Await": grpc.unary_stream_rpc_method_handler(guarded(self._await)),
            "Cancel": grpc.unary_unary_rpc_method_handler(guarded(self._checked(self._cancel))),
            "History": grpc.unary_unary_rpc_method_handler(guarded(self._checked(self._history))),
            "Status": grpc.unary_unary_rpc_method_handler(guarded(self._checked(self._status))),
            "Stats": grpc.unary_unary_rpc_method_handler(guarded(self._checked(self._stats))),
        }
        return grpc.method_handlers_generic_handler("arbd.client.v1.Client", handlers)

    def _checked(self, handle: Callable[[bytes], bytes]) -> Callable[[bytes, CallContext], Awaitable[bytes]]:
        async def handler(data: bytes, context: CallContext) -> bytes:
            await self._state.check_bearer(context)
            try:
                return handle(data)
            except (SubmitError, ForgottenError) as error:
                await _abort_for(error, context)

        return handler

    def _submit(self, data: bytes) -> bytes:
        request = client_pb.SubmitRequest.FromString(data)
        batch, ids = self._board.submit([_new_task(new) for new in request.tasks], time.monotonic(), request.batch)
        self._state.tasks_waiting()
        return client_pb.SubmitReply(batch=batch, ids=ids).SerializeToString()

    def _cancel(self, data: bytes) -> bytes:
        cancelled = self._state.cancel(client_pb.CancelRequest.FromString(data).id)
        return client_pb.CancelReply(finished=not cancelled).SerializeToString()

    def _history(self, data: bytes) -> bytes:
        events = self._board.history(client_pb.HistoryRequest.FromString(data).id)
        begin = events[0].at
        return client_pb.HistoryReply(
            events=[
                client_pb.Event(
                    at_s=event.at - begin,
                    kind=event.kind,
                    provider=event.provider,
                    attempt=event.attempt,
                    status=event.status,
                )
                for event in events
            ]
        ).SerializeToString()

    def _stats(self, _: bytes) -> bytes:
        return client_pb.StatsReply(counters={**self._state.calls, **self._counters()}).SerializeToString()

    def _status(self, _: bytes) -> bytes:
        board, options = self._board, self._state.options
        return client_pb.StatusReply(
            providers=[_provider(each) for each in self._present()],
            queued=board.queued,
            leased=board.leased,
            finished=board.finished,
            lease_s=board.lease_s,
            uptime_s=time.monotonic() - self._state.started_at,
            max_message=options.max_message,
        ).SerializeToString()

    async def _await(self, data: bytes, context: CallContext) -> None:
        await self._state.check_bearer(context)
        request = client_pb.AwaitRequest.FromString(data)
        sent = request.skip
        news = self._state.watch(request.batch)
        try:
            while True:
                news.clear()
                results = list(self._board.results(request.batch, sent))
                finished = self._board.is_finished(request.batch)
                for first in range(0, len(results), _RESULTS_PER_MESSAGE):
                    await context.write(_encode_results(results[first : first + _RESULTS_PER_MESSAGE]))
                sent += len(results)
                if finished:
                    return
                await news.wait()
        except ForgottenError as error:
            await _abort_for(error, context)
        finally:
            self._state.unwatch(request.batch, news)


def _provider(each: ProviderPresence) -> client_pb.Provider:
    return client_pb.Provider(
        name=each.name,
        streams=each.streams,
        polls=each.polls,
        leased=each.leased,
        connected=each.is_connected,
        actions=each.actions,
    )


def _new_task(new: client_pb.NewTask) -> NewTask:
    return NewTask(
        new.action,
        new.payload,
        new.account,
        new.id,
        new.provider,
        new.priority,
        new.timeout_ms / 1000,
        new.traceparent,
    )


def _encode_results(results: list[Result]) -> bytes:
    return client_pb.Results(
        results=[
            client_pb.Result(
                id=result.id,
                action=result.action,
                provider=result.provider,
                status=result.status,
                result=result.result,
                attempts=result.attempts,
                taken_s=result.taken_s,
            )
            for result in results
        ]
    ).SerializeToString()


async def _abort_for(error: SubmitError | ForgottenError, context: CallContext) -> NoReturn:
    code = grpc.StatusCode.ALREADY_EXISTS if isinstance(error, SubmitError) else grpc.StatusCode.NOT_FOUND
    await context.abort(code, str(error))
