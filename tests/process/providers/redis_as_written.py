"""An author's own monitor over Redis, as the documents write it; only the addresses are a test's."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, Optional  # noqa: UP035 # as written there

import redis

from arbd import Provider
from arbd.rate_limit import RateLimitMonitor


class RedisRateLimitMonitor(RateLimitMonitor):
    def __init__(self, redis_url: str, key_prefix: str = "rate_limit"):
        self.redis = redis.Redis.from_url(redis_url)
        self.key_prefix = key_prefix
        self.window_size = 60

    def check_rate_limits(self) -> Optional[Dict[str, Any]]:  # noqa: UP006, UP045 # as written there
        current_time = int(time.time())
        window_key = f"{self.key_prefix}:{current_time // self.window_size}"
        count: Any = self.redis.get(window_key)
        count = 0 if count is None else int(count)
        if count >= 3:
            return {
                "rate_limited": True,
                "wait_time": self.window_size - (current_time % self.window_size),
                "current_count": count,
                "limit": 3,
            }
        return None

    def handle_throttling(self, wait_time: float = 60) -> None:
        time.sleep(wait_time)

    def make_safe_request(self, request_func: Any, *args: Any, **kwargs: Any) -> Any:
        limits = self.check_rate_limits()
        if limits and limits.get("rate_limited"):
            self.handle_throttling(limits["wait_time"])
        current_time = int(time.time())
        window_key = f"{self.key_prefix}:{current_time // self.window_size}"
        self.redis.incr(window_key)
        self.redis.expire(window_key, self.window_size)
        return request_func(*args, **kwargs)


class MyProvider(Provider):
    def __init__(self) -> None:
        rate_limit_monitor = RedisRateLimitMonitor(
            redis_url=os.environ["TEST_REDIS_URL"], key_prefix="my_provider:rate_limit"
        )
        super().__init__(
            name="my-provider",
            auth_token="your-auth-token",
            hub_url="hub-grpc:50051",
            rate_limit_monitor=rate_limit_monitor,
        )

        @self.actions.register(name="echo", payload_schema={"x": int})
        def echo(x: int) -> dict[str, int]:
            return {"x": x, "pid": os.getpid()}
