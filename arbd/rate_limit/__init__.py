"""Rate limit monitors: what an author puts on a provider or on one action.

A monitor is asked before every call of the action. ``None`` means "go"; a dict with ``rate_limited`` true means
"not now": the task is answered with a ``limit`` response that carries ``wait_time`` (seconds) and the dict's
other fields. Nothing waits and no worker is held.

A monitor set on an action replaces the provider's. ``NoRateLimitMonitor`` therefore frees one action of a limited
provider, and costs nothing: it is recognised when the worker starts, and never asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

__all__ = ["NoRateLimitMonitor", "RateLimitMonitor"]


class RateLimitMonitor(ABC):
    """Base of every monitor. A subclass needs ``check_rate_limits`` only; no constructor call is needed."""

    @abstractmethod
    def check_rate_limits(self) -> dict[str, Any] | None:
        """``None`` to let the call through, or what stands in its way.

        A refusal has ``rate_limited: True``, ``wait_time`` in seconds, and any figures of its own.
        """

    def handle_throttling(self, wait_time: float = 60) -> None:
        """Wait ``wait_time`` seconds, inside an action that decided to wait. The action's deadline still holds."""
        # The one place of this package where waiting *is* the feature; every decision gets its time from elsewhere.
        from time import sleep

        sleep(wait_time)

    def make_safe_request(self, request_func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``request_func``, after the wait the monitor asks for, if it asks for one."""
        limits = self.check_rate_limits()
        if limits and limits.get("rate_limited"):
            self.handle_throttling(limits["wait_time"])
        return request_func(*args, **kwargs)


class NoRateLimitMonitor(RateLimitMonitor):
    """Lets everything through."""

    def check_rate_limits(self) -> None:
        return None
