"""What the services of an embedded hub share: the board with its clock and timer, who may call, and who waits for what.

Not a service: ``service_unary`` (the Hub protocol), ``service_stream`` (arbd.v1) and ``service_client`` are those.

    Submit, a lease that ends, a task given back ──tasks_waiting──> polls held by service_unary, streams with credit
    a verdict ──finished──> watchers of the task's batch
    a task whose time is over while somebody has it ──cancel_at──> the stream that has it
"""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
import msgspec
from google.protobuf.message import DecodeError

from arbd.hub.board import TaskBoard
from arbd.supervised import report

DEFAULT_MAX_MESSAGE: Final = 4 * 1024 * 1024
"""gRPC's own default limit for a received message, which most hubs have."""

_UNKNOWN: Final = "the token is not known here"
_NO_TOKEN: Final = "this hub wants a token, and none came"

CallContext = grpc.aio.ServicerContext[Any, Any]


RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")


def guarded(
    handler: Callable[[RequestT, CallContext], Awaitable[ReplyT]],
) -> Callable[[RequestT, CallContext], Awaitable[ReplyT]]:
    """A handler of calls whose unexpected exceptions are reported: gRPC itself would answer UNKNOWN, and go on. A
    request that is no message is its sender's fault, and told so."""

    async def handle(request: RequestT, context: CallContext) -> ReplyT:
        try:
            return await handler(request, context)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not what this method takes")
            raise
        except grpc.aio.BaseError:
            raise  # the end of the call, as we or gRPC decided it
        except Exception as error:
            report(error, handler.__qualname__)
            raise

    return handle


class HubOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an embedded hub can be told.

    ``address``: host:port (port 0: any free one) or unix:path. ``tokens``: empty = everybody may call.
    ``lease_s``: until a task that is not answered goes to somebody else. ``hold_s``: how long a GetTask that finds no
    task is held; 0 = "nothing" at once. ``no_task``: how "nothing" is said, ``empty`` (a Task without id) or
    ``not_found``. ``submit_reply``: what SubmitTaskResult answers: ``empty``, or ``echo`` (the task just finished, as
    some hubs do). ``max_message``: largest message in bytes. ``stream``: whether it speaks the stream protocol too.
    ``tls_cert`` and ``tls_key``: PEM; both = TLS. ``client_ca``: PEM of the authorities that callers' certificates have
    to be issued by; without it no caller needs one.
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
    stream: bool = True
    tls_cert: bytes | None = None
    tls_key: bytes | None = None
    client_ca: bytes | None = None


def _is_one_of(tokens: Iterable[str], token: str) -> bool:
    """Whether a token is one of these; how long that takes tells nothing of how much of it is right."""
    given = token.encode("utf-8", "surrogatepass")
    return any(hmac.compare_digest(known.encode(), given) for known in tokens)


class HubState:
    """The board with its clock and timer, who may call, and who waits for what. ``calls`` counts calls and frames."""

    def __init__(self, options: HubOptions) -> None:
        self.options = options
        self.calls: Counter[str] = Counter()
        self.board = TaskBoard(
            lease_s=options.lease_s,
            max_attempts=options.max_attempts,
            keep_finished=options.keep_finished,
            run=uuid.uuid4().hex[:8],
        )
        self.is_stopping = False
        self.started_at = time.monotonic()
        self._tokens = frozenset(options.tokens)
        self._watchers: dict[str, set[asyncio.Event]] = {}  # by batch
        self._takers: list[Callable[[], None]] = []
        self._cancellers: list[Callable[[str], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    async def check_token(self, token: str, context: CallContext) -> None:
        """End the call with UNAUTHENTICATED if this token may not call."""
        if self._tokens and not _is_one_of(self._tokens, token):
            self.calls["refused"] += 1
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, _UNKNOWN if token else _NO_TOKEN)

    async def check_bearer(self, context: CallContext) -> None:
        """End the call with UNAUTHENTICATED if the token in its metadata may not call."""
        if self._tokens:
            given = [str(value) for key, value in context.invocation_metadata() or () if key == "authorization"]
            await self.check_token(given[0].removeprefix("Bearer ") if given else "", context)

    def stop(self) -> None:
        """Set no more timers."""
        self.is_stopping = True
        if self._timer is not None:
            self._timer.cancel()

    # -- tasks wait -----------------------------------------------------------------------------------------

    def on_tasks_waiting(self, take: Callable[[], None]) -> None:
        """Have ``take`` called whenever tasks wait that somebody might have."""
        self._takers.append(take)

    def tasks_waiting(self) -> None:
        """Call those who had found no task: there may be some now."""
        for take in self._takers:
            if self.board.queued:
                take()
        self.arm_timer()

    # -- tasks end ------------------------------------------------------------------------------------------

    def watch(self, batch: str) -> asyncio.Event:
        """An event that is set whenever a task of the batch is finished."""
        news = asyncio.Event()
        self._watchers.setdefault(batch, set()).add(news)
        return news

    def unwatch(self, batch: str, news: asyncio.Event) -> None:
        """Set this event no more."""
        watchers = self._watchers[batch]
        watchers.discard(news)
        if not watchers:
            del self._watchers[batch]

    def finished(self, task_ids: Iterable[str]) -> None:
        """Set the events of the batches of these tasks, which have got their verdict."""
        if not self._watchers:
            return
        for batch in {self.board.batch_of(task_id) for task_id in task_ids}:
            for news in self._watchers.get(batch, ()):
                news.set()

    def on_cancel(self, cancel: Callable[[str], None]) -> None:
        """Have ``cancel`` called with the id of a task that is not wanted any more, while somebody may have it."""
        self._cancellers.append(cancel)

    def cancel(self, task_id: str) -> bool:
        """Cancel a task, and tell whoever has it; ``False``: it is finished already. Raises ``ForgottenError``."""
        if not self.board.cancel(task_id, time.monotonic()):
            return False
        self._unwanted(task_id)
        self.finished([task_id])  # or not yet, if somebody has it: looking once too often does no harm
        return True

    def _unwanted(self, task_id: str) -> None:
        for cancel in self._cancellers:
            cancel(task_id)

    # -- time -----------------------------------------------------------------------------------------------

    def arm_timer(self) -> None:
        """Set the timer for the next lease or task whose time ends. It may be too early by then, never too late."""
        expiry = self.board.next_expiry()
        if expiry is None or self.is_stopping or (self._timer is not None and self._timer_at <= expiry):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = expiry
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, expiry - time.monotonic()), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        finished = self.board.expire(time.monotonic())
        for task_id in finished:
            self._unwanted(task_id)
        self.finished(finished)
        self.tasks_waiting()
        self.arm_timer()
