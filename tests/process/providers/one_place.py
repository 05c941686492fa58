"""Monitors of an author's own: one that is asked in one place, one that each worker has for itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from arbd import Provider, RateLimitMonitor


class Counting(RateLimitMonitor):
    """As the specifications write them: it counts where the request is made."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.made = 0

    def check_rate_limits(self) -> dict[str, Any] | None:
        if self.made < self.most:
            return None
        return {"rate_limited": True, "wait_time": 3.0, "pid": os.getpid(), "made": self.made}

    def make_safe_request(self, request_func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.made += 1
        return request_func(*args, **kwargs)


class Shared(Counting):
    shared = True


class Moody(RateLimitMonitor):
    """Counts where it is asked; may be told to fail."""

    shared = True

    def __init__(self) -> None:
        self.asked = 0

    def check_rate_limits(self) -> dict[str, Any] | None:
        self.asked += 1
        if self.asked == 3:
            raise ValueError("third time unlucky")
        if self.asked == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return None


provider = Provider(name="one-place", execution_timeout=5)
by_hand = Shared(4)
provider.by_hand = by_hand  # type: ignore[attr-defined] # where it is found


@provider.actions.register(name="shared", rate_limit_monitor=Shared(5))
def shared() -> dict[str, int]:
    time.sleep(0.01)
    return {"pid": os.getpid()}


@provider.actions.register(name="each", rate_limit_monitor=Counting(5))
def each() -> dict[str, int]:
    time.sleep(0.01)
    return {"pid": os.getpid()}


@provider.actions.register(name="moody", rate_limit_monitor=Moody())
def moody() -> dict[str, int]:
    return {"pid": os.getpid()}


@provider.actions.register(name="hands")
def hands() -> dict[str, Any]:
    limits = by_hand.check_rate_limits()
    if limits:
        return {"made": False, "limits": limits}
    return {"made": by_hand.make_safe_request(lambda: True)}
