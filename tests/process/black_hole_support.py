"""Hubs that are gone without having closed anything: real sockets that take connections, or do not even do that, and
never say a word."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from hub_support import Context, ScriptedHub

from arbd.wire.pb import hub_pb2 as pb


@contextmanager
def accepting() -> Iterator[str]:
    """Connections are made, by the kernel, and nothing is ever read or written."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        yield _address(listener)


@contextmanager
def dropping() -> Iterator[str]:
    """Packets are dropped: the line of connections is full, and the kernel answers to no other."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        before = [socket.socket() for _ in range(4)]
        try:
            for each in before:
                each.setblocking(False)
                each.connect_ex(listener.getsockname())
            yield _address(listener)
        finally:
            for each in before:
                each.close()


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


class HoldingScript:
    """A hub that knows no other method than its two: it holds each poll until ``go``, and answers it with a task."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.handed_out = 0
        self.cut = 0

    async def get_task(self, hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cut += 1
            raise
        self.handed_out += 1
        return pb.Task(id=f"late-{self.handed_out}", action="act", payload=b"{}").SerializeToString()
