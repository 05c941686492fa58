"""Actions that meet the bugs of the predecessor."""

from __future__ import annotations

import itertools
import time
from typing import Any

from arbd import Provider
from arbd.rate_limit import AdvancedRateLimitMonitor, TimeBasedRateLimitMonitor

provider = Provider(name="regressions", auth_token="the-real-token", execution_timeout=0.3)
register = provider.actions.register


@register(name="too_long")
def too_long() -> None:
    time.sleep(60)


@register(name="once_a_minute", rate_limit_monitor=TimeBasedRateLimitMonitor(min_delay=60))
def once_a_minute() -> None:
    pass


@register(name="twice_a_second", rate_limit_monitor=AdvancedRateLimitMonitor(max_calls_per_second=2))
def twice_a_second() -> None:
    pass


_jumps = itertools.cycle([-86_400.0, 86_400.0, 0.0])
_wall_clock = time.time


def _jumping_clock() -> float:
    return _wall_clock() + next(_jumps)


time.time = _jumping_clock


@register(name="jumping", rate_limit_monitor=TimeBasedRateLimitMonitor(min_delay=600))
def jumping() -> None:
    time.time()


@register(name="everything")
def everything(payload: dict[str, Any], provider: dict[str, Any], task: Any, **rest: Any) -> dict[str, Any]:
    return {"payload": payload, "provider": provider, "task": task, "rest": repr(rest)}


@register(name="not_a_number")
def not_a_number() -> dict[str, Any]:
    return {"nan": float("nan"), "infinite": [float("inf"), float("-inf")], "one": 1.0}


@register(name="documented", payload_schema={"param1": str, "param2": int})
def documented(param1: str, param2: int) -> dict[str, Any]:
    return {"param1": param1, "param2": param2}


limited = Provider(name="limited", rate_limit_monitor=TimeBasedRateLimitMonitor(min_delay=60))


@limited.actions.register(name="one")
def one() -> None:
    pass


@limited.actions.register(name="two")
def two() -> None:
    pass
