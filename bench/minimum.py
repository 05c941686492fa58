"""The least that a provider with worker processes can add to its calls: how far one task at a time is from a limit.

    python -m bench.minimum unary|stream|links ADDRESS PROVIDER

    hub ──task──> this process ──shared memory, eventfd──> one forked worker ──shared memory, eventfd──> here ──> hub

One task at a time, one slot of memory each way. No dispatch, schema, deadline, limit, outbox, log, and nobody who would
notice that the worker has died: what is left is the hub's protocol, two wake-ups of sleeping processes, and the action.

With ``links`` there is no worker at all: two link processes make the calls, and this one answers each task itself.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from arbd.core.outbox import MemoryOutbox
from arbd.host import doorbell, procs
from arbd.host.fence import make_fence
from arbd.links.base import HubLink, LinkProcesses
from arbd.model.description import ActionInfo
from arbd.model.task import Outcome, Task
from bench.provider import nothing

_SLOT_BYTES: Final = 4096
_ONE: Final = (1).to_bytes(8, "little")
_RESULT: Final = b'{"status":"success"}'
_SLOTS: Final = 500  # as many as two workers with trivial tasks have


class _Worker:
    """A forked process that runs one action whenever a payload comes."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 2 * _SLOT_BYTES)
        self._task_bell = os.eventfd(0)
        self._result_bell = os.eventfd(0)
        self._then: Callable[[bytes], None]
        parent = os.getpid()
        if os.fork() == 0:
            procs.die_with_parent(parent)
            self._serve()

    def _serve(self) -> None:
        while True:
            os.read(self._task_bell, 8)
            json.loads(self._get(0))
            nothing()
            self._put(_SLOT_BYTES, _RESULT)
            os.write(self._result_bell, _ONE)

    def listen(self) -> None:
        """Hear its results on the running loop."""
        asyncio.get_running_loop().add_reader(self._result_bell, self._on_bell)

    def run(self, payload: bytes, then: Callable[[bytes], None]) -> None:
        """Have it run; ``then`` is called with the result in the doorbell's turn: nothing is sooner."""
        self._then = then
        self._put(0, payload)
        os.write(self._task_bell, _ONE)

    def _on_bell(self) -> None:
        os.read(self._result_bell, 8)
        self._then(self._get(_SLOT_BYTES))

    def _put(self, at: int, data: bytes) -> None:
        self._memory[at : at + 8 + len(data)] = len(data).to_bytes(8, "little") + data

    def _get(self, at: int) -> bytes:
        length = int.from_bytes(self._memory[at : at + 8], "little")
        return self._memory[at + 8 : at + 8 + length]


async def _unary(worker: _Worker, address: str, provider: str) -> None:
    import grpc.aio

    from arbd.links.unary.messages import decode_task, encode_request
    from bench.bare import answer

    loop = asyncio.get_running_loop()
    worker.listen()
    async with grpc.aio.insecure_channel(address) as channel:
        get_task = channel.unary_unary("/Hub/GetTask", None, None)
        submit = channel.unary_unary("/Hub/SubmitTaskResult", None, None)
        request = encode_request(provider, "")
        while True:
            task = decode_task(await get_task(request, timeout=60))
            if task is None:
                continue
            started: asyncio.Future[Any] = loop.create_future()

            def submit_it(result: bytes, task: Task = task, started: asyncio.Future[Any] = started) -> None:
                started.set_result(submit(answer(task, provider, result.decode()), timeout=10))

            worker.run(task.payload, submit_it)
            await (await started)


async def _stream(worker: _Worker, address: str, provider: str) -> None:
    import grpc.aio

    from arbd.wire import stream_frames as frames
    from arbd.wire.pb import arbd_v1_pb2 as pb

    loop = asyncio.get_running_loop()
    worker.listen()
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(frames.METHOD, None, None)(None)
        hello = pb.Hello(version=frames.VERSION, provider=provider, session="minimum", max_frame=1 << 20)
        await call.write(pb.ProviderFrame(hello=hello, credit=1, seq=1).SerializeToString())
        number = 1
        while True:
            frame = pb.HubFrame.FromString(cast(bytes, await call.read()))
            for task in frame.tasks:
                number += 1
                done: asyncio.Future[bytes] = loop.create_future()
                worker.run(task.payload, done.set_result)
                result = pb.Result(id=task.id, attempt=task.attempt, status=pb.STATUS_SUCCESS, result=await done)
                back = pb.ProviderFrame(acked=frame.seq, credit=number, results=[result], seq=number)
                await call.write(back.SerializeToString())


class _AtOnce:
    """A ``HubPort`` that has a result for each task as soon as it comes."""

    actions: Sequence[ActionInfo] = ()

    def __init__(self) -> None:
        self.outbox = MemoryOutbox()
        self.link: HubLink

    def free_slots(self) -> int:
        return _SLOTS

    def take(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self.outbox.append(Outcome(task, "success", _RESULT))
        self.link.results_ready()

    def note_lease(self, lease_s: float) -> None:
        pass

    def cancel(self, task_ids: Sequence[str]) -> None:
        pass

    def join(self, processes: LinkProcesses) -> int:
        self._bell = doorbell.create(blocking=False)
        self._fence = make_fence()
        asyncio.get_running_loop().add_reader(self._bell, self._look, processes)
        return self._bell

    def leave(self, processes: LinkProcesses) -> None:
        asyncio.get_running_loop().remove_reader(self._bell)

    def _look(self, processes: LinkProcesses) -> None:
        doorbell.wait(self._bell)
        while processes.look() or self._sleep(processes):
            pass

    def _sleep(self, processes: LinkProcesses) -> int:
        processes.ring_from_now_on()
        self._fence()
        return processes.look()


async def _links(address: str, provider: str) -> None:
    from arbd.links.options import link_options
    from arbd.links.processes.group import LinkGroup
    from arbd.model.encoding import Encoder
    from arbd.settings.table import from_flags, resolve
    from arbd.wire.grpc_channel import Tls

    flags = {"name": provider, "hub.url": address, "hub.links": 2, "log.silent": True}
    settings = resolve([from_flags(flags)]).settings
    port = _AtOnce()
    port.link = link = LinkGroup(settings, link_options(settings, Encoder.of(settings), Tls()), 2)
    await link.start(port)
    try:
        await asyncio.Event().wait()
    finally:
        await link.close()


def main() -> None:
    """Serve until killed. A worker is forked first: nothing of gRPC is there yet."""
    protocol, address, provider = sys.argv[1:]
    worker = None if protocol == "links" else _Worker()
    import uvloop

    if worker is None:
        uvloop.run(_links(address, provider))
    else:
        uvloop.run((_unary if protocol == "unary" else _stream)(worker, address, provider))


if __name__ == "__main__":
    main()
