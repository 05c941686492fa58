"""Rate limit monitors: what an author puts on a provider or an action, or uses by hand inside an action.

A monitor is asked before every call of the action. ``None`` means "go"; a dict with ``rate_limited`` true means "not
now": the task is answered with a ``limit`` response that carries ``wait_time`` (seconds) and the dict's other fields.

A monitor set on an action replaces the provider's. ``NoRateLimitMonitor`` therefore frees one action of a limited
provider, and costs nothing: it is recognised when the worker starts, and never asked.

    base.py        what authors subclass           limit_monitor.py  what the built-in monitors have in common
    monitors.py    the built-in monitors           redis_monitor.py  the one for many hosts
    checks.py      an author's arguments           registry.py       which monitors exist
    gates.py       whether a call may start        usage.py, words.py  figures and texts
    algorithms/    how many calls may start, when  storage/  limits shared by daemons or hosts
    grants/        one limit for all workers of a daemon
"""

from __future__ import annotations

from arbd.rate_limit.base import NoRateLimitMonitor, RateLimitMonitor
from arbd.rate_limit.monitors import (
    AdaptiveRateLimitMonitor,
    AdvancedRateLimitMonitor,
    CustomRateLimitMonitor,
    SharedRateLimitMonitor,
    TimeBasedRateLimitMonitor,
)
from arbd.rate_limit.redis_monitor import RedisRateLimitMonitor

__all__ = [
    "AdaptiveRateLimitMonitor",
    "AdvancedRateLimitMonitor",
    "CustomRateLimitMonitor",
    "NoRateLimitMonitor",
    "RateLimitMonitor",
    "RedisRateLimitMonitor",
    "SharedRateLimitMonitor",
    "TimeBasedRateLimitMonitor",
]
