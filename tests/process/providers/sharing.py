"""Two providers that are given one limit; each runs in a daemon of its own."""

from __future__ import annotations

from arbd import Provider
from arbd.rate_limit import SharedRateLimitMonitor

shared_rate_limit = SharedRateLimitMonitor(max_requests=10, window_size=60)


class ProviderA(Provider):
    def __init__(self, name: str = "provider-a") -> None:
        super().__init__(name=name, execution_timeout=5, rate_limit_monitor=shared_rate_limit)
        self.actions.register(name="call")(lambda: {"called": True})


class ProviderB(ProviderA):
    def __init__(self) -> None:
        super().__init__("provider-b")
