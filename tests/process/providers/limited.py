"""Actions under limits of every kind. Each answers when it was admitted, as its worker published it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import Any

from arbd import Provider
from arbd.ipc import layout
from arbd.rate_limit import (
    AdaptiveRateLimitMonitor,
    AdvancedRateLimitMonitor,
    CustomRateLimitMonitor,
    NoRateLimitMonitor,
    RateLimitMonitor,
    TimeBasedRateLimitMonitor,
)
from arbd.rate_limit.grants.worker_seat import WorkerSeat
from arbd.rate_limit.limit_monitor import LimitMonitor


class Limited(Provider):
    rate_limit_monitor = CustomRateLimitMonitor(window_size=60, max_requests=3)

    def __init__(self) -> None:
        super().__init__(name="limited", execution_timeout=2)
        self.by_hand = CustomRateLimitMonitor(window_size=60, max_requests=4)


provider = Limited()
register = provider.actions.register

window = CustomRateLimitMonitor(window_size=0.25, max_requests=40)
bucket = AdvancedRateLimitMonitor(requests_per_minute=12_000, burst_size=20)
spacing = TimeBasedRateLimitMonitor(min_delay=0.01, max_calls_per_second=80)
waiting = TimeBasedRateLimitMonitor(min_delay=0.02, on_limit="wait")
pair = AdaptiveRateLimitMonitor(max_concurrency=2, on_limit="wait")
cpu = AdvancedRateLimitMonitor(max_cpu_per_second=0.2)


def admitted(monitor: LimitMonitor) -> dict[str, int]:
    gate = monitor.gate
    assert isinstance(gate, WorkerSeat)
    return {"at_ns": gate._words[layout.LAST_START_NS], "pid": os.getpid()}


@register(name="free", rate_limit_monitor=NoRateLimitMonitor())
def free() -> dict[str, int]:
    return {"pid": os.getpid()}


@register(name="ours")
def ours() -> dict[str, int]:
    return {"pid": os.getpid()}


@register(name="ours_too")
def ours_too() -> dict[str, int]:
    return {"pid": os.getpid()}


@register(name="window", rate_limit_monitor=window)
def in_window() -> dict[str, int]:
    return admitted(window)


@register(name="bucket", rate_limit_monitor=bucket)
def in_bucket() -> dict[str, int]:
    return admitted(bucket)


@register(name="spacing", rate_limit_monitor=spacing)
def spaced() -> dict[str, int]:
    return admitted(spacing)


@register(name="waiting", rate_limit_monitor=waiting)
def waited() -> dict[str, int]:
    return admitted(waiting)


@register(name="dies", rate_limit_monitor=window)
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@register(name="pair", rate_limit_monitor=pair)
def pairwise(payload: dict[str, Any]) -> dict[str, float]:
    began = time.monotonic()
    if payload.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return {"began": began, "ended": time.monotonic()}


@register(name="burn", rate_limit_monitor=cpu)
def burn(payload: dict[str, Any]) -> None:
    until = time.thread_time() + payload["cpu_s"]
    while time.thread_time() < until:
        pass


@register(name="hands", rate_limit_monitor=NoRateLimitMonitor())
def hands(payload: dict[str, Any]) -> list[Any]:
    """As many requests by hand as asked for, in the way asked for."""
    count, how = payload["count"], payload["how"]
    if how == "async":
        return asyncio.run(_by_hand_async(count))
    if how == "direct":
        return [provider.by_hand.make_safe_request(lambda: "made") for _ in range(count)]
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(provider.by_hand.make_safe_request(lambda: "made")))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


async def _by_hand_async(count: int) -> list[Any]:
    async def request() -> str:
        return "made"

    return list(await asyncio.gather(*(provider.by_hand.make_safe_request(request) for _ in range(count))))


@register(name="change", rate_limit_monitor=NoRateLimitMonitor())
def change(payload: dict[str, Any]) -> None:
    """Set a limit while the daemon runs."""
    if payload["how"] == "default":
        provider.actions.set_default_rate_limit(min_delay=60)
    elif payload["how"] == "action":
        provider.actions.set_rate_limit(payload["action"], min_delay=60)
    elif payload["how"] == "off":
        provider.actions.set_custom_rate_limit(payload["action"], NoRateLimitMonitor())
    elif payload["how"] == "window":
        window = CustomRateLimitMonitor(window_size=60, max_requests=payload["calls"])
        provider.actions.set_custom_rate_limit(payload["action"], window)
    else:
        provider.actions.set_custom_rate_limit(payload["action"], Mine())


class Mine(RateLimitMonitor):
    def check_rate_limits(self) -> None:
        return None
