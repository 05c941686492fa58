"""A rate limit as plain data, checked, which can be sent to the supervisor.

monitor ──> LimitSpec ──(description)──> supervisor ──build──> the one real ``Limit`` of the daemon
              └───────────────── build ──> a ``Limit`` of its own, where there is no daemon

The checks of an author's arguments are ``arbd.rate_limit.checks``.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

OnLimit = Literal["reject", "wait", "hold"]
ON_LIMIT: Final[tuple[OnLimit, ...]] = ("reject", "wait", "hold")
Kind = Literal["time_based", "advanced", "custom", "shared", "adaptive", "redis"]
Scope = Literal["provider", "action", "by hand"]
OnBackendError = Literal["open", "closed", "local"]
ON_BACKEND_ERROR: Final[tuple[OnBackendError, ...]] = ("open", "closed", "local")


class Rates(msgspec.Struct, frozen=True, omit_defaults=True):
    """The rates of a limit, in seconds, calls, and seconds of cost per second; ``None``: no limit of that kind."""

    min_delay: float | None = None
    max_calls_per_second: float | None = None
    requests_per_minute: float | None = None
    burst_size: int | None = None
    max_requests: int | None = None
    window_size: float | None = None
    max_cpu_per_second: float | None = None
    max_time_per_second: float | None = None
    min_concurrency: int | None = None
    max_concurrency: int | None = None

    @property
    def window_ns(self) -> int:
        """The window in nanoseconds; 0 without one."""
        return round((self.window_size or 0) * 1_000_000_000)


class Schedule(msgspec.Struct, frozen=True):
    """Business hours, and the rates outside them; ``outside=None``: nothing may start then. ``hours`` are minutes since
    midnight, from and to; ``days`` are weekdays, 0 is Monday."""

    hours: list[tuple[int, int]]
    days: list[int]
    timezone: str
    outside: Rates | None


class RedisBackend(msgspec.Struct, frozen=True):
    """The Redis server that keeps a limit. ``timeout``: seconds it may take to answer before it counts as away."""

    url: str
    key_prefix: str
    on_error: OnBackendError
    timeout: float

    def __repr__(self) -> str:
        return f"<RedisBackend key_prefix={self.key_prefix!r}>"

    def without_url(self) -> RedisBackend:
        """The same without the URL, which may hold a password."""
        return msgspec.structs.replace(self, url="")

    def key(self, window_ns: int) -> str:
        """The key of the limit's state in Redis. Members that disagree about ``max_requests`` share it, each with its
        own figure; windows of other lengths are other limits."""
        return f"{self.key_prefix}:{window_ns // 1_000_000 or 1}"


class LimitSpec(msgspec.Struct, frozen=True):
    """The specification of one limit of a provider.

    ``name`` tells its limits apart and keeps its state over a reload; ``actions`` are those it was put on, where its
    scope is "action". ``shared`` is its name among the daemons of a host that share it, ``redis`` where it is kept for
    many hosts. ``metered``: what its calls take is measured.
    """

    name: str
    kind: Kind
    rates: Rates
    scope: Scope = "by hand"
    actions: list[str] = []
    schedule: Schedule | None = None
    on_limit: OnLimit = "reject"
    warning_threshold: float = 0.8
    critical_threshold: float = 0.9
    metered: bool = False
    shared: str | None = None
    redis: RedisBackend | None = None
