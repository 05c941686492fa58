"""Limits that daemons share, beside one that is its daemon's own."""

from __future__ import annotations

from arbd import Provider
from arbd.rate_limit import CustomRateLimitMonitor, SharedRateLimitMonitor

provider = Provider(name="shared", execution_timeout=5)
provider.actions.register(
    name="shared", rate_limit_monitor=SharedRateLimitMonitor(max_requests=1000, window_size=1, name="files")
)(lambda: "shared")
provider.actions.register(
    name="other", rate_limit_monitor=CustomRateLimitMonitor(max_requests=1000, window_size=1, name="own")
)(lambda: "other")

holding = Provider(
    name="holding",
    execution_timeout=5,
    rate_limit_monitor=SharedRateLimitMonitor(max_requests=2, window_size=0.5, name="held", on_limit="hold"),
)
holding.actions.register(name="held")(lambda: "held")
