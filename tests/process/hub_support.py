"""What the hub tests share: a hub that follows a script, a supervisor of a few lines, a proxy that can fall silent."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from arbd.core.outbox import MemoryOutbox
from arbd.host import doorbell
from arbd.host.fence import make_fence
from arbd.links.base import HubLink, LinkProcesses
from arbd.links.options import LinkOptions
from arbd.links.unary.link import GrpcUnaryLink
from arbd.model.description import ActionInfo
from arbd.model.task import Outcome, Task
from arbd.wire.pb import hub_pb2 as pb

Context = grpc.aio.ServicerContext[Any, Any]
OK = b'{"status":"success"}'


class Supervisor:
    """A port with ``slots`` places. ``answer`` makes the outcome of each task at once; ``None`` keeps the task."""

    def __init__(self, slots: int = 64, answer: Callable[[Task], Outcome | None] | None = None) -> None:
        self.slots = slots
        self.outbox = MemoryOutbox()
        self.tasks: list[Task] = []
        self.running = 0
        self._answer = answer or (lambda task: Outcome(task, "success", OK))
        self.cancelled: list[str] = []
        self.leases: list[float] = []
        self.actions: Sequence[ActionInfo] = [ActionInfo("act", "does it", 2.0, {"type": "object"}, None, "", False)]
        self.link: HubLink

    def free_slots(self) -> int:
        return self.slots - self.running

    def _take_one(self, task: Task) -> None:
        self.tasks.append(task)
        self.running += 1
        outcome = self._answer(task)
        if outcome is not None:
            self.finish(outcome)

    def take(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self._take_one(task)

    def note_lease(self, lease_s: float) -> None:
        self.leases.append(lease_s)

    def cancel(self, task_ids: Sequence[str]) -> None:
        self.cancelled += task_ids

    def join(self, processes: LinkProcesses) -> int:
        """Looks as the supervisor does, but never rests."""
        self.bell = doorbell.create(blocking=False)
        asyncio.get_running_loop().add_reader(self.bell, self._look, processes)
        return self.bell

    def _look(self, processes: LinkProcesses) -> None:
        doorbell.wait(self.bell)
        while True:
            while processes.look():
                pass
            processes.ring_from_now_on()
            make_fence()()
            if not processes.look():
                return

    def leave(self, processes: LinkProcesses) -> None:
        asyncio.get_running_loop().remove_reader(self.bell)
        os.close(self.bell)

    def finish(self, outcome: Outcome) -> None:
        self.running -= 1
        self.outbox.append(outcome)
        self.link.results_ready()
        self.link.slots_changed()


class Log:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **words: self.lines.append((level, event, words))

    def events(self) -> list[str]:
        return [event for _, event, _ in self.lines]


@asynccontextmanager
async def running_link(
    url: str, supervisor: Supervisor, *, log: Log | None = None, **options: Any
) -> AsyncIterator[GrpcUnaryLink]:
    link = GrpcUnaryLink(
        LinkOptions(**{"url": url, "provider": "prov", "token": "tok", **options}), logger=log or Log()
    )
    supervisor.link = link
    await link.start(supervisor)
    try:
        yield link
    finally:
        await link.close()


GetTask = Callable[["ScriptedHub", pb.ProviderRequest, Context], Awaitable[bytes]]
Submit = Callable[["ScriptedHub", pb.TaskResult, Context], Awaitable[bytes]]


class ScriptedHub:
    """A hub whose answers a test writes itself. It records every call."""

    def __init__(self, get_task: GetTask, submit: Submit | None = None, address: str = "127.0.0.1:0") -> None:
        self._get_task = get_task
        self._submit = submit
        self._address = address
        self.polls = 0
        self.polls_under_way = 0
        self.polls_at_most = 0
        self.results: list[pb.TaskResult] = []
        self.times_left: dict[str, float | None] = {}
        self.metadata: dict[str, str] = {}

    async def _on_get_task(self, data: bytes, context: Context) -> bytes:
        self.polls += 1
        self.polls_under_way += 1
        self.polls_at_most = max(self.polls_at_most, self.polls_under_way)
        self.times_left["GetTask"] = context.time_remaining()
        self.metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        try:
            return await self._get_task(self, pb.ProviderRequest.FromString(data), context)
        finally:
            self.polls_under_way -= 1

    async def _on_submit(self, data: bytes, context: Context) -> bytes:
        message = pb.TaskResult.FromString(data)
        self.results.append(message)
        self.times_left["SubmitTaskResult"] = context.time_remaining()
        return b"" if self._submit is None else await self._submit(self, message, context)

    async def __aenter__(self) -> ScriptedHub:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handlers = {
            "GetTask": grpc.unary_unary_rpc_method_handler(self._on_get_task),
            "SubmitTaskResult": grpc.unary_unary_rpc_method_handler(self._on_submit),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Hub", handlers),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port(self._address)}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)


def tasks_once(*ids: str) -> GetTask:
    """Hand out each of these once, then hold polls for a moment and say "nothing"."""
    left = list(ids)

    async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
        if left:
            return pb.Task(id=left.pop(0), action="act", payload=b"{}").SerializeToString()
        await asyncio.sleep(0.05)
        return b""

    return get_task


class SilentProxy:
    """A TCP proxy. ``freeze`` makes its connections of that moment half-open: open, and silent for ever."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.connections = 0
        self._new_gate()

    def _new_gate(self) -> None:
        self._thawed = asyncio.Event()
        self._thawed.set()

    def freeze(self) -> None:
        """Connections of this moment fall silent; those that come later work."""
        self._thawed.clear()
        self._new_gate()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        thawed = self._thawed
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        self._writers += [writer, up_writer]
        for pump in (_pump(reader, up_writer, thawed), _pump(up_reader, writer, thawed)):
            self._tasks.append(asyncio.create_task(pump))

    async def __aenter__(self) -> SilentProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, thawed: asyncio.Event) -> None:
    try:
        while data := await reader.read(65536):
            await thawed.wait()
            writer.write(data)
    except ConnectionError:
        pass  # one side is gone: so is the connection
    writer.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def eventually(check: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Wait until ``check`` is true."""
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.005)
