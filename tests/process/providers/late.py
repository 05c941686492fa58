"""Actions under limits that measure calls, whose timeouts are about as long as it takes to be let through. They leave
nothing half done, so their worker stays after a timeout: with a new one whatever was held would be gone."""

from __future__ import annotations

from arbd import Provider
from arbd.rate_limit import AdaptiveRateLimitMonitor, AdvancedRateLimitMonitor

provider = Provider(name="late", execution_timeout=10)
LIMITS = {
    "budget": AdvancedRateLimitMonitor(max_time_per_second=0.3),
    "adaptive": AdaptiveRateLimitMonitor(max_concurrency=1),
}

register = provider.actions.register

for name, limit in LIMITS.items():
    for number, timeout in enumerate((0.0001, 0.0002, 0.0003, 0.0005, 0.001)):
        register(name=f"{name} {number}", timeout=timeout, rate_limit_monitor=limit, after_timeout="keep")(lambda: None)
    register(name=name, rate_limit_monitor=limit)(lambda: "through")
