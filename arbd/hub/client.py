"""A client of the embedded hub: submit tasks, take results as they come, ask what happened.

Not a hub link: it speaks the client service (protos/arbd_client.proto), not the Hub protocol.

    async with HubClient("127.0.0.1:50051") as client:
        batch = await client.submit([NewTask("add", b'{"a": 1, "b": 2}')])
        async for result in client.results(batch.name):
            print(result.id, result.response)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Final

import grpc
import grpc.aio
import msgspec

from arbd.errors import HubError
from arbd.hub.board import NewTask, Result, TaskEvent
from arbd.hub.presence import ProviderPresence
from arbd.wire.grpc_channel import Tls, channel_options, open_channel, parse_url
from arbd.wire.pb import arbd_client_pb2 as client_pb

_SERVICE: Final = "/arbd.client.v1.Client"
_BYTES_PER_CALL: Final = 1024 * 1024
_TASKS_PER_CALL: Final = 1000


class Batch(msgspec.Struct, frozen=True):
    """Tasks submitted together; ``ids`` in the order of the tasks."""

    name: str
    ids: list[str]


class HubStatus(msgspec.Struct, frozen=True):
    """The state of an embedded hub: who is connected or has tasks, tasks ``queued`` (that wait for a provider),
    ``leased`` (that one has) and ``finished`` (since it was started). ``lease_s``: until a task that is not answered
    goes to somebody else; ``max_message``: bytes of the largest message that it takes."""

    providers: list[ProviderPresence]
    queued: int
    leased: int
    finished: int
    lease_s: float
    uptime_s: float
    max_message: int

    @property
    def connected(self) -> list[ProviderPresence]:
        """The providers that are connected."""
        return [each for each in self.providers if each.is_connected]


class HubClient:
    """One connection to an embedded hub. ``timeout_s`` bounds each call but the stream of results. ``waits_for_hub``:
    a hub that is not there yet is waited for, that long; else a call fails as soon as that is known.

    Every method raises ``HubError``, with the gRPC status name as its ``code``.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        tls: bool | None = None,
        tls_options: Tls | None = None,
        timeout_s: float = 10,
        waits_for_hub: bool = True,
    ) -> None:
        self._timeout_s = timeout_s
        self._waits_for_hub = waits_for_hub
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        target = parse_url(url, tls)
        try:
            self._channel = open_channel(target, tls_options or Tls(), channel_options(max_send=-1, max_receive=-1))
        except OSError as error:
            raise HubError("UNAVAILABLE", f"no connection can be opened: {error}") from error

    async def submit(self, tasks: Iterable[NewTask], batch: str = "") -> Batch:
        """Submit tasks, in calls of at most 1 MiB or 1000 tasks; they may start before the last call is made.

        ``batch``: add them to that one. Tasks of a call that failed are not submitted, those of earlier calls are.
        """
        ids: list[str] = []
        for call in _calls(tasks):
            request = client_pb.SubmitRequest(batch=batch, tasks=call)
            reply = client_pb.SubmitReply.FromString(await self._call("Submit", request))
            batch = reply.batch
            ids += reply.ids
        return Batch(batch, ids)

    async def results(self, batch: str, skip: int = 0) -> AsyncIterator[Result]:
        """Yield results as tasks finish, and end when all tasks of the batch have.

        ``skip``: how many results were received before, to go on after a ``HubError``.
        """
        stream = self._channel.unary_stream(f"{_SERVICE}/Await", None, client_pb.Results.FromString)
        request = client_pb.AwaitRequest(batch=batch, skip=skip).SerializeToString()
        try:
            async for message in stream(request, metadata=self._metadata):
                for result in message.results:
                    yield _result(result)
        except grpc.aio.AioRpcError as error:
            raise _hub_error(error) from error

    async def cancel(self, task_id: str) -> bool:
        """Cancel a task, waiting or running; ``False``: it had its verdict already."""
        data = await self._call("Cancel", client_pb.CancelRequest(id=task_id))
        return not client_pb.CancelReply.FromString(data).finished

    async def history(self, task_id: str) -> list[TaskEvent]:
        """What happened to a task; times count from its submission, in seconds."""
        data = await self._call("History", client_pb.HistoryRequest(id=task_id))
        events = client_pb.HistoryReply.FromString(data).events
        return [TaskEvent(event.at_s, event.kind, event.provider, event.attempt, event.status) for event in events]

    async def time_with_provider(self, task_id: str) -> float:
        """Seconds from a finished task's last hand-out to its verdict, by the hub's clock; 0 if it never left."""
        events = await self.history(task_id)
        handed_out_at = [event.at for event in events if event.kind == "handed_out"]
        return events[-1].at - handed_out_at[-1] if handed_out_at else 0.0

    async def stats(self) -> dict[str, int]:
        """The hub's counters: calls by method, tasks queued and leased, polls held."""
        data = await self._call("Stats", client_pb.StatsRequest())
        return dict(client_pb.StatsReply.FromString(data).counters)

    async def status(self) -> HubStatus:
        """Who is connected, and what waits. A hub that does not know the question says ``UNIMPLEMENTED``."""
        data = await self._call("Status", client_pb.StatusRequest())
        return _status(client_pb.StatusReply.FromString(data))

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close(None)

    async def __aenter__(self) -> HubClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, method: str, request: Any) -> bytes:
        call = self._channel.unary_unary(f"{_SERVICE}/{method}", None, None)
        try:
            data: bytes = await call(
                request.SerializeToString(),
                timeout=self._timeout_s,
                metadata=self._metadata,
                wait_for_ready=self._waits_for_hub,  # a hub that is just starting is worth the timeout
            )
        except grpc.aio.AioRpcError as error:
            raise _hub_error(error) from error
        return data


def _calls(tasks: Iterable[NewTask]) -> Iterator[list[client_pb.NewTask]]:
    call: list[client_pb.NewTask] = []
    size = 0
    for task in tasks:
        added = len(task.payload) + len(task.account)
        if call and (len(call) >= _TASKS_PER_CALL or size + added > _BYTES_PER_CALL):
            yield call
            call, size = [], 0
        size += added
        call.append(
            client_pb.NewTask(
                id=task.id,
                action=task.action,
                payload=task.payload,
                account=task.account,
                provider=task.provider,
                priority=task.priority,
                timeout_ms=round(task.timeout * 1000),
                traceparent=task.traceparent,
            )
        )
    yield call  # also when it is empty: a batch without tasks is a batch


def _status(reply: client_pb.StatusReply) -> HubStatus:
    providers = [
        ProviderPresence(
            name=each.name,
            is_connected=each.connected,
            streams=each.streams,
            polls=each.polls,
            leased=each.leased,
            actions=list(each.actions),
        )
        for each in reply.providers
    ]
    return HubStatus(
        providers, reply.queued, reply.leased, reply.finished, reply.lease_s, reply.uptime_s, reply.max_message
    )


def _result(result: client_pb.Result) -> Result:
    return Result(
        result.id, result.action, result.provider, result.status, result.result, result.attempts, result.taken_s
    )


def _hub_error(error: grpc.aio.AioRpcError) -> HubError:
    return HubError(error.code().name, error.details() or "")
