"""RQ: two workers that fork for each job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import redis
import rq
from rq.results import Result

from bench.peers.base import NO_LIMIT_S, WORKERS, TaskFailed
from bench.peers.redis_peer import RedisPeer, redis_path

_LIMIT_S = 1  # it counts whole seconds
_KEEP_S = 600


class RqPeer(RedisPeer):
    title = "RQ, forking"
    packages = ("rq", "redis")
    settings = (
        "two `rq worker`, each forks for every job; `job_timeout` on, whole seconds, so 1 s for those that "
        "hang; results in Redis, awaited with `latest_result(timeout=)`; without results: `result_ttl=0`"
    )
    can_discard = True
    app_module = "bench.peers.actions"  # it takes plain functions
    limit_s = float(_LIMIT_S)

    def start(self, place: Path) -> None:
        super().start(place)
        self._queue = rq.Queue(connection=redis.Redis(unix_socket_path=redis_path(), socket_timeout=None))

    def programs(self) -> Sequence[Sequence[str]]:
        url = f"unix://{redis_path()}"
        return [("rq.cli", "worker", "--url", url, "--quiet", "--disable-job-desc-logging")] * WORKERS

    def send(self, action: str, arguments: Mapping[str, Any], count: int = 1) -> Any:
        function = getattr(self.app, action)
        timeout = _LIMIT_S if action.startswith("hang") else NO_LIMIT_S
        ttl = 0 if action == "discard" else _KEEP_S
        return [
            self._queue.enqueue(function, kwargs=dict(arguments), job_timeout=timeout, result_ttl=ttl)
            for _ in range(count)
        ]

    def collect(self, ticket: Any, timeout_s: float) -> None:
        for job in ticket:
            result = job.latest_result(timeout=round(timeout_s))
            if result is None:
                raise TimeoutError("no result in time")
            if result.type is not Result.Type.SUCCESSFUL:
                raise TaskFailed(str(result.exc_string))
