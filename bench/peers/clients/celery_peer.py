"""Celery, prefork."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery.exceptions import TimeoutError as CeleryTimeout

from bench.peers.base import WORKERS, TaskFailed
from bench.peers.redis_peer import RedisPeer


class CeleryPeer(RedisPeer):
    title = "Celery, prefork"
    packages = ("celery", "redis")
    settings = (
        "`celery worker --pool prefork --concurrency 2`, hard time limits on, "
        "`worker_prefetch_multiplier=64`, no gossip, mingle, heartbeat; results in Redis, awaited with "
        "`AsyncResult.get`; without results: `ignore_result`"
    )
    can_discard = True
    app_module = "bench.peers.apps.celery_app"

    def programs(self) -> Sequence[Sequence[str]]:
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR")
        pool = ("--pool", "prefork", "--concurrency", str(WORKERS))
        return [("celery", "-A", self.app_module, "worker", *pool, *quiet)]

    def send(self, action: str, arguments: Mapping[str, Any], count: int = 1) -> Any:
        task = self.app.TASKS[action]
        return [task.apply_async(kwargs=arguments) for _ in range(count)]

    def collect(self, ticket: Any, timeout_s: float) -> None:
        try:
            for result in ticket:
                result.get(timeout=timeout_s)
        except CeleryTimeout as error:
            raise TimeoutError("no result in time") from error
        except Exception as error:  # its own TimeLimitExceeded, or what the task raised
            raise TaskFailed(repr(error)) from error
