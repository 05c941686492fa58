"""arbd over its embedded hub, by the stream and by the unary protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import uvloop

from arbd.hub.board import NewTask
from arbd.hub.client import Batch, HubClient
from arbd.hub.process import HubProcess
from bench.peers import processes
from bench.peers.base import WORKERS, Peer, TaskFailed

_CALL_S = 60.0


class ArbdPeer(Peer):
    packages = ("arbd", "grpcio")
    has_broker = True
    protocol: ClassVar[str]

    def start(self, place: Path) -> None:
        self._taken_s: list[float] = []
        self._hub = HubProcess()
        self.broker_pid = self._hub.process.pid
        app = str(processes.ROOT / "bench" / "peers" / "apps" / "arbd_app.py")
        options = ("--hub", self._hub.address, "--workers", str(WORKERS), "--log-level", "error")
        processes.module(place, "arbd", "run", app, *options, environment={"ARBD_HUB_PROTOCOL": self.protocol})
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._client = self._runner.run(self._connect())

    async def _connect(self) -> HubClient:
        return HubClient(self._hub.address, timeout_s=_CALL_S)

    def stop(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()
        self._hub.process.kill()

    def send(self, action: str, arguments: Mapping[str, Any], count: int = 1) -> Batch:
        task = NewTask(action, json.dumps(arguments).encode())
        return self._runner.run(self._client.submit([task] * count))

    def collect(self, ticket: Batch, timeout_s: float) -> None:
        self._runner.run(self._collect(ticket, timeout_s))

    async def _collect(self, batch: Batch, timeout_s: float) -> None:
        taken_s = self._taken_s = []
        async with asyncio.timeout(timeout_s):
            async for result in self._client.results(batch.name):
                if result.status != "success":
                    raise TaskFailed(result.result.decode())
                taken_s.append(result.taken_s)

    def inner_s(self) -> list[float]:
        return self._taken_s


class ArbdStream(ArbdPeer):
    title = "arbd, stream"
    protocol = "stream"
    settings = (
        "`arbd run --workers 2`, embedded hub in a process of its own, `hub.protocol = stream`; payload "
        "checked against its schema, time limit, metrics, outbox on; results awaited with "
        "`HubClient.results`; it always keeps results"
    )


class ArbdUnary(ArbdPeer):
    title = "arbd, unary"
    protocol = "unary"
    settings = "the same over `hub.protocol = unary`: two gRPC calls for every task"
