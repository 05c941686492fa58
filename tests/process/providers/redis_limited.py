"""Actions under limits over Redis. The test says where Redis is; each answer says when its call was admitted."""

from __future__ import annotations

import os
import sys
from typing import Any

from arbd import Provider
from arbd.ipc import layout
from arbd.rate_limit import NoRateLimitMonitor, RedisRateLimitMonitor
from arbd.rate_limit.grants.worker_seat import WorkerSeat

URL = os.environ["TEST_REDIS_URL"]

provider = Provider(name="redis-limited", execution_timeout=5)
register = provider.actions.register

window = RedisRateLimitMonitor(URL, "tests:window", max_requests=40, window_size=0.5, name="window")
exact = RedisRateLimitMonitor(URL, "tests:exact", 40, 0.5, on_backend_error="closed", name="exact")
waiting = RedisRateLimitMonitor(URL, "tests:waiting", 10, 0.2, on_limit="wait", name="waiting")
few = RedisRateLimitMonitor(URL, "tests:few", max_requests=4, window_size=60, name="few")
closed = RedisRateLimitMonitor(URL, "tests:closed", 1000, 0.5, on_backend_error="closed", name="closed")
opened = RedisRateLimitMonitor(URL, "tests:open", 2, 0.5, on_backend_error="open", name="open")


def admitted(monitor: RedisRateLimitMonitor) -> dict[str, int]:
    gate = monitor.gate
    assert isinstance(gate, WorkerSeat)
    return {"at_ns": gate._words[layout.LAST_START_NS], "pid": os.getpid()}


@register(name="window", rate_limit_monitor=window)
def in_window() -> dict[str, int]:
    return admitted(window)


@register(name="exact", rate_limit_monitor=exact)
def exactly_in_window() -> dict[str, int]:
    return admitted(exact)


@register(name="waiting", rate_limit_monitor=waiting)
def waited() -> dict[str, int]:
    return admitted(waiting)


@register(name="few", rate_limit_monitor=few)
def one_of_few() -> dict[str, int]:
    return admitted(few)


@register(name="closed", rate_limit_monitor=closed)
def in_closed() -> dict[str, int]:
    return admitted(closed)


@register(name="open", rate_limit_monitor=opened)
def in_open() -> dict[str, int]:
    return admitted(opened)


@register(name="look", rate_limit_monitor=NoRateLimitMonitor())
def look() -> dict[str, Any]:
    """What a worker can see of Redis."""
    spec = window.spec
    return {"url": spec.redis.url if spec.redis else None, "imported": "redis" in sys.modules, "seen": repr(spec)}
