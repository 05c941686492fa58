"""``RedisRateLimitMonitor``: a limit that many hosts share, kept in Redis."""

from __future__ import annotations

from typing import Any

import msgspec

from arbd.rate_limit.checks import refuse
from arbd.rate_limit.gates import Gate
from arbd.rate_limit.limit_monitor import LimitMonitor
from arbd.rate_limit.storage.redis_checks import checked_backend
from arbd.rate_limit.usage import Figures


class RedisRateLimitMonitor(LimitMonitor):
    """At most ``max_requests`` starts in any ``window_size`` seconds, exactly, over many hosts.

    It holds over all who use the same Redis, ``key_prefix`` and ``window_size``. A daemon leases starts from Redis a
    few at a time, so that a call that passes costs no round trip. ``on_backend_error`` says what holds while Redis is
    away: ``"local"`` (default) this daemon's fair share, the limit over the number of those that used it when Redis was
    last there; ``"closed"`` nothing starts; ``"open"`` nothing is limited. Redis counts as away after ``timeout``
    seconds without an answer; it is tried again by itself.

    ``redis_url`` may hold a password. Workers never connect: they are forked after the monitor has dropped it. It stays
    in their memory, though, where the author's code keeps it, too: as a literal or a module variable.
    """

    kind = "redis"

    def __init__(
        self,
        redis_url: str,
        key_prefix: str = "rate_limit",
        max_requests: int = 100,
        window_size: float = 60,
        *,
        on_backend_error: str = "local",
        timeout: float = 0.25,
        on_limit: str = "reject",
        name: str | None = None,
    ) -> None:
        try:
            backend = checked_backend(redis_url, key_prefix, on_backend_error, timeout)
        except ValueError as exc:
            raise refuse(type(self).__name__, str(exc)) from None
        self.key_prefix = key_prefix
        self.max_requests = max_requests
        self.window_size = window_size
        super().__init__(
            {"window_size": window_size, "max_requests": max_requests},
            on_limit=on_limit,
            name=name,
        )
        self.spec = msgspec.structs.replace(self.spec, redis=backend)

    def attach(self, gate: Gate) -> None:
        super().attach(gate)
        self.redact()  # also where this worker imported the module itself

    @property
    def gate(self) -> Gate:
        if self._gate is None:
            from arbd.rate_limit.storage.redis_client import local_gate  # not at import: it talks to a server

            self._gate = local_gate(self.spec)
        return self._gate

    def redact(self) -> None:
        if self.spec.redis is not None:
            self.spec = msgspec.structs.replace(self.spec, redis=self.spec.redis.without_url())

    def _fields(self, figures: Figures) -> dict[str, Any]:
        backend, window_ns = self.spec.redis, self.spec.rates.window_ns
        return {**self._window_fields(figures), "window_key": backend.key(window_ns) if backend else None}
