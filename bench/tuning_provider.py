"""Four known actions for the tuning campaign, and one whose run time is an argument."""

from __future__ import annotations

import time

from arbd import Provider

provider = Provider(name="tuning")


def _compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@provider.actions.register(name="cpu_5ms")
def cpu_5ms() -> None:
    """Compute for 5 ms."""
    _compute(0.005)


@provider.actions.register(name="cpu_200us")
def cpu_200us() -> None:
    """Compute for 0.2 ms."""
    _compute(0.0002)


@provider.actions.register(name="sleep_20ms")
def sleep_20ms() -> None:
    """Wait for 20 ms."""
    time.sleep(0.02)


@provider.actions.register(name="mixed_12ms")
def mixed_12ms() -> None:
    """Compute for 2 ms and wait for 10 ms."""
    _compute(0.002)
    time.sleep(0.01)
