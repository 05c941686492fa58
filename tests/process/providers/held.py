"""A provider whose limit holds tasks at the hub."""

from __future__ import annotations

import time

from arbd import Provider
from arbd.rate_limit import CustomRateLimitMonitor

provider = Provider(
    name="held",
    execution_timeout=5,
    rate_limit_monitor=CustomRateLimitMonitor(window_size=0.5, max_requests=5, on_limit="hold"),
)


@provider.actions.register(name="quick")
def quick() -> dict[str, float]:
    return {"at": time.monotonic()}


@provider.actions.register(name="slow")
def slow() -> dict[str, float]:
    at = time.monotonic()
    time.sleep(0.6)
    return {"at": at}
