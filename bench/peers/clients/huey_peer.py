"""Huey: two worker processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huey.exceptions import ResultTimeout, TaskException

from bench.peers.base import WORKERS, TaskFailed
from bench.peers.redis_peer import RedisPeer


class HueyPeer(RedisPeer):
    title = "Huey, processes"
    packages = ("huey", "redis")
    settings = (
        "`huey_consumer -k process -w 2`, no periodic tasks, time limits on (`timeout=`, a signal); results "
        "in Redis with `notify_result=True`, awaited with `get(blocking=True)`; without results: tasks that "
        "return None"
    )
    can_discard = True
    app_module = "bench.peers.apps.huey_app"

    def programs(self) -> Sequence[Sequence[str]]:
        options = ("-k", "process", "-w", str(WORKERS), "--no-periodic", "--quiet")
        return [("huey.bin.huey_consumer", f"{self.app_module}.huey", *options)]

    def send(self, action: str, arguments: Mapping[str, Any], count: int = 1) -> Any:
        task = self.app.TASKS[action]
        return [task(**arguments) for _ in range(count)]

    def collect(self, ticket: Any, timeout_s: float) -> None:
        try:
            for result in ticket:
                result.get(blocking=True, timeout=timeout_s)
        except ResultTimeout as error:
            raise TimeoutError("no result in time") from error
        except TaskException as error:
            raise TaskFailed(repr(error)) from error
