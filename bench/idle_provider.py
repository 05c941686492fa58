"""The provider of the idle benchmark: a limit of every kind; each could have something to look at all the time."""

from __future__ import annotations

from arbd import Provider
from arbd.rate_limit import (
    AdaptiveRateLimitMonitor,
    AdvancedRateLimitMonitor,
    CustomRateLimitMonitor,
    SharedRateLimitMonitor,
    TimeBasedRateLimitMonitor,
)

provider = Provider(
    name="idle",
    execution_timeout=1,
    rate_limit_monitor=CustomRateLimitMonitor(window_size=1, max_requests=10_000, on_limit="hold"),
)

_MONITORS = {
    "window": CustomRateLimitMonitor(window_size=1, max_requests=1_000),
    "bucket": AdvancedRateLimitMonitor(requests_per_minute=60_000, burst_size=1_000),
    "spacing": TimeBasedRateLimitMonitor(min_delay=0.001, on_limit="wait"),
    "pair": AdaptiveRateLimitMonitor(max_concurrency=64, on_limit="wait"),
    "shared": SharedRateLimitMonitor(max_requests=1_000, window_size=1, name="idle-benchmark"),
}


def nothing() -> None:
    """The trivial action."""


provider.actions.register(name="nothing")(nothing)
for kind, monitor in _MONITORS.items():
    provider.actions.register(name=kind, rate_limit_monitor=monitor)(nothing)
ACTIONS = ("nothing", *_MONITORS)
