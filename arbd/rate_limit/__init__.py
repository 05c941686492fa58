"""Rate limit monitors: what an author puts on a provider or on one action, or uses by hand inside an action.

A monitor is asked before every call of the action. ``None`` means "go"; a dict with ``rate_limited`` true means
"not now": the task is answered with a ``limit`` response that carries ``wait_time`` (seconds) and the dict's
other fields.

A monitor set on an action replaces the provider's. ``NoRateLimitMonitor`` therefore frees one action of a limited
provider, and costs nothing: it is recognised when the worker starts, and never asked.

    base.py        what authors subclass           algorithms.py  windows, buckets, budgets   calendar.py  hours
    monitors.py    the built-in monitors           limit_monitor.py  what they have in common
    spec.py        a limit as checked data         usage.py       figures
    gates.py       one process alone               registry.py    which monitors exist
    lease.py       what several daemons share      redis_*.py     what many hosts share
    and in arbd.core, for all workers of a daemon: ledger.py (shared memory), account.py (the one real bucket)
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
