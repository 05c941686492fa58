"""Taskiq: two processes with an event loop each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taskiq.exceptions import TaskiqResultTimeoutError

from bench.peers.base import WORKERS, TaskFailed
from bench.peers.redis_peer import RedisPeer

_LOOK_S = 0.001  # there is nothing but polling for a result


class TaskiqPeer(RedisPeer):
    title = "Taskiq, async"
    packages = ("taskiq", "taskiq-redis", "redis")
    settings = (
        "`taskiq worker --workers 2` with `ListQueueBroker`, coroutines, `timeout` on each; results in Redis, "
        "awaited with `wait_result` (which polls: every 1 ms); no mode without results"
    )
    app_module = "bench.peers.apps.taskiq_app"
    can_meet = False  # one of its loops may take both tasks

    def start(self, place: Path) -> None:
        self._runner = asyncio.Runner()
        super().start(place)
        self._runner.run(self.app.broker.startup())

    def programs(self) -> Sequence[Sequence[str]]:
        options = ("--workers", str(WORKERS), "--log-level", "ERROR")
        return [("taskiq", "worker", f"{self.app_module}:broker", *options)]

    def send(self, action: str, arguments: Mapping[str, Any], count: int = 1) -> Any:
        return self._runner.run(self._send(self.app.TASKS[action], arguments, count))

    async def _send(self, task: Any, arguments: Mapping[str, Any], count: int) -> list[Any]:
        return [await task.kiq(**arguments) for _ in range(count)]

    def collect(self, ticket: Any, timeout_s: float) -> None:
        self._runner.run(self._collect(ticket, timeout_s))

    async def _collect(self, ticket: Any, timeout_s: float) -> None:
        for task in ticket:
            try:
                result = await task.wait_result(check_interval=_LOOK_S, timeout=timeout_s)
            except TaskiqResultTimeoutError as error:
                raise TimeoutError("no result in time") from error
            if result.is_err:
                raise TaskFailed(repr(result.error))
