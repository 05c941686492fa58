"""The built-in monitors: in a daemon each limits all workers together, elsewhere its own process.

    check_rate_limits()        looks only: nothing counts
    make_safe_request(f)       counts, and calls ``f`` if it may; from threads, and awaited with an ``async`` ``f``
    on a provider or action    counts before each call; what is refused becomes a ``limit`` response

What happens at the limit is ``on_limit``: ``"reject"`` (default) refuses and says how long to wait, ``"wait"`` waits
for its turn (an action's deadline still holds), ``"hold"`` is ``"wait"`` and, on a provider, also stops the daemon from
taking tasks that could not start.

Every argument is checked at construction; ``RegistrationError`` gives the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from arbd.rate_limit.limit_monitor import SECOND_NS, LimitMonitor, usage_of
from arbd.rate_limit.usage import Figures


class TimeBasedRateLimitMonitor(LimitMonitor):
    """At least ``min_delay`` seconds between two starts, at most ``max_calls_per_second`` in any one second."""

    kind = "time_based"

    def __init__(
        self,
        min_delay: float | None = None,
        max_calls_per_second: float | None = None,
        timezone: str = "UTC",
        *,
        business_hours: str | None = None,
        days: str | Iterable[str] = "mon-fri",
        outside: Any = None,
        on_limit: str = "reject",
        name: str | None = None,
    ) -> None:
        super().__init__(
            {"min_delay": min_delay, "max_calls_per_second": max_calls_per_second},
            on_limit=on_limit,
            timezone=timezone,
            business_hours=business_hours,
            days=days,
            outside=outside,
            name=name,
        )


class AdvancedRateLimitMonitor(LimitMonitor):
    """Limits on rates and costs: spacing, calls per second, a token bucket, and budgets of CPU and run time.

    ``requests_per_minute`` with at most ``burst_size`` at once is the token bucket; budgets are in seconds of CPU or
    run time per second. Any of them may be combined. Usage above the thresholds (parts of the limit) is logged once per
    crossing and reported in responses. What calls take is measured.
    """

    kind = "advanced"

    def __init__(
        self,
        min_delay: float | None = None,
        max_calls_per_second: float | None = None,
        warning_threshold: float = 0.8,
        critical_threshold: float = 0.9,
        timezone: str = "UTC",
        *,
        requests_per_minute: float | None = None,
        burst_size: int | None = None,
        max_cpu_per_second: float | None = None,
        max_time_per_second: float | None = None,
        business_hours: str | None = None,
        days: str | Iterable[str] = "mon-fri",
        outside: Any = None,
        on_limit: str = "reject",
        name: str | None = None,
    ) -> None:
        super().__init__(
            {
                "min_delay": min_delay,
                "max_calls_per_second": max_calls_per_second,
                "requests_per_minute": requests_per_minute,
                "burst_size": burst_size,
                "max_cpu_per_second": max_cpu_per_second,
                "max_time_per_second": max_time_per_second,
            },
            on_limit=on_limit,
            timezone=timezone,
            business_hours=business_hours,
            days=days,
            outside=outside,
            name=name,
            thresholds=(warning_threshold, critical_threshold),
            metered=True,
        )

    def _fields(self, figures: Figures) -> dict[str, Any]:
        totals, usage = figures.totals, usage_of(figures)
        return {
            "metrics": {
                "call_count": totals.calls,
                "total_time": totals.wall_ns / SECOND_NS,
                "total_cpu": totals.cpu_ns / SECOND_NS,
            },
            # Of the usage that is told here, not of the level that is logged: that has hysteresis.
            "is_near_limit": usage >= self.spec.warning_threshold,
            "is_critical": usage >= self.spec.critical_threshold,
            "call_usage": usage,
            "cpu_usage": round(figures.cpu_usage, 4),
        }


class CustomRateLimitMonitor(LimitMonitor):
    """At most ``max_requests`` starts in any ``window_size`` seconds, exactly."""

    kind = "custom"

    def __init__(
        self,
        window_size: float = 60,
        max_requests: int = 100,
        timezone: str = "UTC",
        *,
        business_hours: str | None = None,
        days: str | Iterable[str] = "mon-fri",
        outside: Any = None,
        on_limit: str = "reject",
        name: str | None = None,
    ) -> None:
        super().__init__(
            {"window_size": window_size, "max_requests": max_requests},
            on_limit=on_limit,
            timezone=timezone,
            business_hours=business_hours,
            days=days,
            outside=outside,
            name=name,
        )

    def _fields(self, figures: Figures) -> dict[str, Any]:
        return self._window_fields(figures)


class AdaptiveRateLimitMonitor(LimitMonitor):
    """A limit on concurrent calls that adapts between ``min_concurrency`` and ``max_concurrency``.

    It is learnt from how long calls take and how often they fail, by a gradient algorithm (source and formula:
    ``arbd.rate_limit.algorithms.adaptive``).
    """

    kind = "adaptive"

    def __init__(
        self,
        max_concurrency: int = 100,
        min_concurrency: int = 1,
        *,
        on_limit: str = "reject",
        name: str | None = None,
    ) -> None:
        super().__init__(
            {"min_concurrency": min_concurrency, "max_concurrency": max_concurrency},
            on_limit=on_limit,
            name=name,
            metered=True,
        )


class SharedRateLimitMonitor(LimitMonitor):
    """At most ``max_requests`` starts in any ``window_size`` seconds, over all daemons of this host that share it.

    They share it by ``name``; without one, by the place in the source where it is made, so that two providers of one
    module that are given the same monitor share it. They have to use the same runtime directory (setting
    ``runtime_dir``). Outside a daemon it holds for its process alone.
    """

    kind = "shared"

    def __init__(
        self,
        max_requests: int = 100,
        window_size: float = 60,
        name: str | None = None,
        timezone: str = "UTC",
        *,
        on_limit: str = "reject",
    ) -> None:
        super().__init__(
            {"window_size": window_size, "max_requests": max_requests},
            on_limit=on_limit,
            timezone=timezone,
            name=name,
            shared=_place_in_source() if name is None else name,
        )

    def _fields(self, figures: Figures) -> dict[str, Any]:
        return {**self._window_fields(figures), "providers": list(figures.members)}


def _place_in_source() -> str:
    """File and line of the code that constructs a monitor."""
    frame = sys._getframe(2)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
