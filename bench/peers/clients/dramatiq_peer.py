"""Dramatiq: two processes of four threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dramatiq.results.errors import ResultFailure, ResultTimeout

from bench.peers.base import WORKERS, TaskFailed
from bench.peers.redis_peer import RedisPeer

_THREADS = 4


class DramatiqPeer(RedisPeer):
    title = "Dramatiq, 8 threads"
    packages = ("dramatiq", "redis")
    settings = (
        "`dramatiq --processes 2 --threads 4`, `max_retries=0`, time limits on (it looks once a second); "
        "results in Redis, awaited with `get_result(block=True)`; without results: `store_results=False`"
    )
    can_discard = True
    app_module = "bench.peers.apps.dramatiq_app"
    can_meet = False  # one process fetches as many messages as there are threads in both

    def programs(self) -> Sequence[Sequence[str]]:
        return [("dramatiq", self.app_module, "--processes", str(WORKERS), "--threads", str(_THREADS))]

    def send(self, action: str, arguments: Mapping[str, Any], count: int = 1) -> Any:
        actor = self.app.TASKS[action]
        return [actor.send(**arguments) for _ in range(count)]

    def collect(self, ticket: Any, timeout_s: float) -> None:
        try:
            for message in ticket:
                message.get_result(block=True, timeout=round(timeout_s * 1000))
        except ResultTimeout as error:
            raise TimeoutError("no result in time") from error
        except ResultFailure as error:
            raise TaskFailed(repr(error)) from error
