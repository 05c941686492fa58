"""``RateLimitProvider``: a monitor by name of its class, that can be given other figures while it is in use.

For calls to an API from inside actions; it runs no actions itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arbd.rate_limit import NoRateLimitMonitor, RateLimitMonitor


class RateLimitProvider:
    """Holds one monitor of ``monitor_class``, made with the other arguments. Default: no limit."""

    def __init__(self, monitor_class: type[RateLimitMonitor] | None = None, **config: Any) -> None:
        if monitor_class is None:
            if config:
                raise TypeError(f"RateLimitProvider: {', '.join(config)} need a monitor_class that takes them")
            monitor_class = NoRateLimitMonitor
        self._monitor_class = monitor_class
        self._config = config
        self.monitor: RateLimitMonitor = monitor_class(**config)

    def check_rate_limits(self) -> dict[str, Any] | None:
        """What the monitor says; see ``RateLimitMonitor.check_rate_limits``."""
        return self.monitor.check_rate_limits()

    def make_safe_request(self, request_func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Make the call through the monitor; see its ``make_safe_request``."""
        return self.monitor.make_safe_request(request_func, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """The monitor's arguments: a copy."""
        return dict(self._config)

    def update_config(self, **config: Any) -> None:
        """Change arguments. If the new ones are refused, the old ones stay.

        The new monitor starts with an empty history. Made while a daemon runs, it holds for the calling worker alone.
        """
        merged = {**self._config, **config}
        self.monitor = self._monitor_class(**merged)
        self._config = merged
