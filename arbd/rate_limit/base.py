"""The base class of every rate limit monitor, and the monitor that limits nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class RateLimitMonitor(ABC):
    """Base of every monitor. A subclass needs ``check_rate_limits`` only; no constructor call is needed.

    On a provider or an action, ``check_rate_limits`` is asked before each call. A subclass that also overrides
    ``make_safe_request``, where monitors of this style count, has the call made through it.
    """

    @abstractmethod
    def check_rate_limits(self) -> dict[str, Any] | None:
        """Whether a call may start: ``None``, or a dict that says why not. A refusal has ``rate_limited: True``,
        ``wait_time`` in seconds, and any figures of its own."""

    def handle_throttling(self, wait_time: float = 60) -> None:
        """Wait ``wait_time`` seconds inside an action. The action's deadline still holds."""
        # The one place of this package where waiting *is* the feature; every decision gets its time from elsewhere.
        from time import sleep

        sleep(wait_time)

    def make_safe_request(self, request_func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``request_func`` with the other arguments, after the wait the monitor asks for, if it asks for one."""
        limits = self.check_rate_limits()
        if limits and limits.get("rate_limited"):
            self.handle_throttling(limits["wait_time"])
        return request_func(*args, **kwargs)


class NoRateLimitMonitor(RateLimitMonitor):
    """A monitor that lets every call through."""

    def check_rate_limits(self) -> None:
        return None
