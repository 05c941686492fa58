"""The embedded hub: the Hub protocol and our client service on one port, in memory, for development, tests and load.

Not the decisions (``arbd.hub.board``): this is the shell that gives the board its clock, its callers and its timer.

    GetTask ──> board.hand_out ──task──> reply             SubmitTaskResult ──> board.record_result ──> reply
                  │ none                   ^                                         │
                  └── waits, at most hold_s┘ <── wake ── Submit, lease expiry        └── wakes Await of the batch

It is the other side in every benchmark, so messages are handled as bytes and a task goes to a waiting poll directly.

Metadata it knows, all optional: ``arbd-long-poll-ms`` on GetTask holds that call at most so long (never longer than
``hold_s``); ``authorization: Bearer <token>`` on the client service, required if the hub was given tokens.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any, Final, NoReturn

import grpc
import grpc.aio
import msgspec

from arbd.errors import HubError
from arbd.hub.board import ForgottenError, NewTask, Receipt, Result, SubmitError, TaskBoard
from arbd.hub.pb import arbd_client_pb2 as client_pb
from arbd.hub.pb import hub_pb2 as pb
from arbd.model import Task

DEFAULT_MAX_MESSAGE: Final = 4 * 1024 * 1024
"""gRPC's own default limit for a received message, which most hubs have."""

LONG_POLL_KEY: Final = "arbd-long-poll-ms"

_NO_TASK: Final = b""  # an empty Task on the wire
_RESULTS_PER_MESSAGE: Final = 256
_SHUTDOWN_GRACE_S: Final = 0.5

Context = grpc.aio.ServicerContext[Any, Any]


class HubOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an embedded hub can be told.

    ``address``: host:port (port 0: any free one) or unix:path. ``tokens``: empty = everybody may call.
    ``lease_s``: until a task that is not answered goes to somebody else. ``hold_s``: how long a GetTask that finds no
    task is held; 0 = "nothing" at once. ``no_task``: how "nothing" is said, ``empty`` (a Task without id) or
    ``not_found``. ``submit_reply``: what SubmitTaskResult answers: ``empty``, ``echo`` (the task just finished, as some
    hubs do) or ``next`` (the next task, for providers with piggyback on). ``max_message``: largest message in bytes.
    ``tls_cert`` and ``tls_key``: PEM; both = TLS.
    """

    address: str = "127.0.0.1:0"
    tokens: Collection[str] = ()
    lease_s: float = 30.0
    max_attempts: Mapping[str, int] = {}
    keep_finished: int = 200_000
    hold_s: float = 20.0
    no_task: str = "empty"
    submit_reply: str = "empty"
    max_message: int = DEFAULT_MAX_MESSAGE
    tls_cert: bytes | None = None
    tls_key: bytes | None = None


class EmbeddedHub:
    """A hub on one event loop: ``await start()``, then ``address``; ``await stop()``; or ``async with``."""

    def __init__(self, options: HubOptions | None = None) -> None:
        self.options = options or HubOptions()
        self.address = ""
        self.calls: Counter[str] = Counter()
        self.board = TaskBoard(
            lease_s=self.options.lease_s,
            max_attempts=self.options.max_attempts,
            keep_finished=self.options.keep_finished,
            run=uuid.uuid4().hex[:8],
        )
        self._server: grpc.aio.Server | None = None
        self._tokens = frozenset(self.options.tokens)
        self._polls: deque[tuple[str, asyncio.Future[Task | None]]] = deque()  # held, oldest first
        self._watchers: dict[str, set[asyncio.Event]] = {}  # by batch
        self._lease_timer: asyncio.TimerHandle | None = None
        self._stopping = False

    async def start(self) -> None:
        """Listen. Raises ``HubError`` if the address cannot be used."""
        options = self.options
        self._server = server = grpc.aio.server(options=_server_options(options.max_message))
        server.add_generic_rpc_handlers((self._hub_service(), self._client_service()))
        try:
            if options.tls_cert and options.tls_key:
                credentials = grpc.ssl_server_credentials([(options.tls_key, options.tls_cert)])
                port = server.add_secure_port(options.address, credentials)
            else:
                port = server.add_insecure_port(options.address)
        except RuntimeError as error:
            raise HubError("UNAVAILABLE", f"the hub cannot listen on {options.address!r}: {error}") from error
        await server.start()
        unix = options.address.startswith("unix:")
        self.address = options.address if unix else f"{options.address.rpartition(':')[0]}:{port}"

    async def stop(self) -> None:
        """Answer held polls with "nothing", then close."""
        self._stopping = True
        if self._lease_timer is not None:
            self._lease_timer.cancel()
        while self._polls:
            _, poll = self._polls.popleft()
            if not poll.done():
                poll.set_result(None)
        if self._server is not None:
            await self._server.stop(_SHUTDOWN_GRACE_S)

    async def __aenter__(self) -> EmbeddedHub:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # -- the Hub protocol ------------------------------------------------------------------------------------

    def _hub_service(self) -> grpc.GenericRpcHandler[Any, Any]:
        handlers = {
            "GetTask": grpc.unary_unary_rpc_method_handler(self._get_task),
            "SubmitTaskResult": grpc.unary_unary_rpc_method_handler(self._submit_result),
        }
        return grpc.method_handlers_generic_handler("Hub", handlers)

    async def _get_task(self, data: bytes, context: Context) -> bytes:
        self.calls["GetTask"] += 1
        request = pb.ProviderRequest.FromString(data)
        await self._check_token(request.auth_token, context)
        task = self.board.hand_out(request.provider, time.monotonic())
        if task is None:
            task = await self._hold(request.provider, self._hold_s(context))
        if task is not None:
            self._arm_lease_timer()
            return _encode_task(task)
        self.calls["GetTask empty"] += 1
        if self.options.no_task == "not_found":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no task")
        return _NO_TASK

    def _hold_s(self, context: Context) -> float:
        hold_s = self.options.hold_s
        for key, value in context.invocation_metadata() or ():
            if key == LONG_POLL_KEY and str(value).isdigit():
                hold_s = min(hold_s, int(value) / 1000)
        return hold_s

    async def _hold(self, provider: str, hold_s: float) -> Task | None:
        if hold_s <= 0 or self._stopping:
            return None
        loop = asyncio.get_running_loop()
        poll: asyncio.Future[Task | None] = loop.create_future()
        self._polls.append((provider, poll))
        timer = loop.call_later(hold_s, self._end_hold, poll)
        try:
            return await poll
        except asyncio.CancelledError:
            # The provider is gone. A task that was just given to this poll must not wait for its lease to end.
            if poll.done() and not poll.cancelled() and (task := poll.result()) is not None:
                self.board.give_back(task.id, provider, time.monotonic())
                self._feed_polls()
            raise
        finally:
            timer.cancel()

    def _end_hold(self, poll: asyncio.Future[Task | None]) -> None:
        if not poll.done():
            poll.set_result(None)

    def _feed_polls(self) -> None:
        """Give queued tasks to held polls, oldest poll first; polls that ended are dropped on the way."""
        now = time.monotonic()
        unfed: list[tuple[str, asyncio.Future[Task | None]]] = []
        while self._polls and self.board.queued:
            provider, poll = self._polls.popleft()
            if poll.done():
                continue
            task = self.board.hand_out(provider, now)
            if task is None:
                unfed.append((provider, poll))
            else:
                poll.set_result(task)
        self._polls.extendleft(reversed(unfed))

    async def _submit_result(self, data: bytes, context: Context) -> bytes:
        self.calls["SubmitTaskResult"] += 1
        message = pb.TaskResult.FromString(data)
        await self._check_token(message.auth_token, context)
        result = message.result.encode()
        receipt = self.board.record_result(message.id, message.provider, message.status, result, time.monotonic())
        if receipt is Receipt.UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"task {message.id!r} was never handed out here")
        if receipt is Receipt.INVALID:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{message.status!r} is no status")
        self._wake_watchers(self.board.batch_of(message.id))
        return self._submit_answer(message)

    def _submit_answer(self, message: pb.TaskResult) -> bytes:
        if self.options.submit_reply == "echo":
            payload, account = message.payload.encode(), message.account.encode()
            return _encode_task(Task(message.id, message.action, payload, account))
        if self.options.submit_reply == "next":
            task = self.board.hand_out(message.provider, time.monotonic())
            if task is not None:
                self._arm_lease_timer()
                return _encode_task(task)
        return _NO_TASK

    async def _check_token(self, token: str, context: Context) -> None:
        if self._tokens and token not in self._tokens:
            self.calls["refused"] += 1
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is not known here")

    # -- leases ----------------------------------------------------------------------------------------------

    def _arm_lease_timer(self) -> None:
        if self._lease_timer is None and not self._stopping:
            expiry = self.board.next_expiry()
            if expiry is not None:
                loop = asyncio.get_running_loop()
                self._lease_timer = loop.call_later(max(0.0, expiry - time.monotonic()), self._expire_leases)

    def _expire_leases(self) -> None:
        self._lease_timer = None
        for task_id in self.board.expire(time.monotonic()):
            self._wake_watchers(self.board.batch_of(task_id))
        self._feed_polls()
        self._arm_lease_timer()

    # -- the client service ----------------------------------------------------------------------------------

    def _client_service(self) -> grpc.GenericRpcHandler[Any, Any]:
        handlers = {
            "Submit": grpc.unary_unary_rpc_method_handler(self._guarded(self._submit)),
            "Await": grpc.unary_stream_rpc_method_handler(self._await),
            "History": grpc.unary_unary_rpc_method_handler(self._guarded(self._history)),
            "Stats": grpc.unary_unary_rpc_method_handler(self._guarded(self._stats)),
        }
        return grpc.method_handlers_generic_handler("arbd.client.v1.Client", handlers)

    def _guarded(self, handle: Callable[[bytes], bytes]) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def handler(data: bytes, context: Context) -> bytes:
            await self._check_client(context)
            try:
                return handle(data)
            except (SubmitError, ForgottenError) as error:
                await _abort_for(error, context)

        return handler

    async def _check_client(self, context: Context) -> None:
        if self._tokens:
            given = [str(value) for key, value in context.invocation_metadata() or () if key == "authorization"]
            await self._check_token(given[0].removeprefix("Bearer ") if given else "", context)

    def _submit(self, data: bytes) -> bytes:
        request = client_pb.SubmitRequest.FromString(data)
        tasks = [NewTask(new.action, new.payload, new.account, new.id, new.provider) for new in request.tasks]
        batch, ids = self.board.submit(tasks, time.monotonic(), request.batch)
        self._feed_polls()
        return client_pb.SubmitReply(batch=batch, ids=ids).SerializeToString()

    def _history(self, data: bytes) -> bytes:
        events = self.board.history(client_pb.HistoryRequest.FromString(data).id)
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
        held = sum(1 for _, poll in self._polls if not poll.done())
        board = {"queued": self.board.queued, "leased": self.board.leased, "polls held": held}
        return client_pb.StatsReply(counters={**self.calls, **board}).SerializeToString()

    async def _await(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        await self._check_client(context)
        request = client_pb.AwaitRequest.FromString(data)
        sent = request.skip
        news = asyncio.Event()
        watchers = self._watchers.setdefault(request.batch, set())
        watchers.add(news)
        try:
            while True:
                news.clear()
                results = list(self.board.results(request.batch, sent))
                finished = self.board.is_finished(request.batch)
                for first in range(0, len(results), _RESULTS_PER_MESSAGE):
                    yield _encode_results(results[first : first + _RESULTS_PER_MESSAGE])
                sent += len(results)
                if finished:
                    return
                await news.wait()
        except ForgottenError as error:
            await _abort_for(error, context)
        finally:
            watchers.discard(news)
            if not watchers:
                self._watchers.pop(request.batch, None)

    def _wake_watchers(self, batch: str) -> None:
        for news in self._watchers.get(batch, ()):
            news.set()


async def serve(
    options: HubOptions,
    *,
    should_exit: asyncio.Event,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Run a hub until ``should_exit``. ``on_ready`` is told the address as soon as it listens."""
    async with EmbeddedHub(options) as hub:
        if on_ready is not None:
            on_ready(hub.address)
        await should_exit.wait()


def _server_options(max_message: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message),
        ("grpc.max_send_message_length", -1),
        # A port in use is an error, not something to share with a hub somebody forgot.
        ("grpc.so_reuseport", 0),
        # Clients may ping a silent connection; gRPC's default drops those that do so within 5 minutes.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 0),
    ]


def _encode_task(task: Task) -> bytes:
    return pb.Task(id=task.id, action=task.action, payload=task.payload, account=task.account).SerializeToString()


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


async def _abort_for(error: SubmitError | ForgottenError, context: Context) -> NoReturn:
    code = grpc.StatusCode.ALREADY_EXISTS if isinstance(error, SubmitError) else grpc.StatusCode.NOT_FOUND
    await context.abort(code, str(error))
