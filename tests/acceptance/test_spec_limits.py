"""The specifications' examples of rate limits run as written there, with ``arbd`` as the package.

Custom monitors keep their own clocks; here the clock is moved by hand. ``pytz.timezone`` is written ``ZoneInfo``.
"""

from __future__ import annotations

import json
import threading
import time
from datetime import datetime
from typing import Any, Dict, Optional  # noqa: UP035 - as the specifications write it
from zoneinfo import ZoneInfo

import pytest

from arbd import Provider, ProviderResponse
from arbd.model.response import ProviderResponse as Response
from arbd.model.response import rate_limited
from arbd.rate_limit import (
    AdvancedRateLimitMonitor,
    CustomRateLimitMonitor,
    NoRateLimitMonitor,
    RateLimitMonitor,
    SharedRateLimitMonitor,
    TimeBasedRateLimitMonitor,
)
from arbd.rate_limit_provider import RateLimitProvider
from arbd.testing import run_action


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only moves when somebody sleeps; what was slept."""
    pauses: list[float] = []
    began = time.time()
    monkeypatch.setattr("time.time", lambda: began + sum(pauses))
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


def statuses(provider: Provider, action: str, times: int, payload: Any = None) -> list[str]:
    return [run_action(provider, action, payload).status for _ in range(times)]


# --- version 1.2: types of rate limiting ------------------------------------------------------------------------------


def test_no_rate_limiting() -> None:
    provider = Provider(
        name="my-provider", auth_token="my-token", hub_url="hub-grpc:50051", rate_limit_monitor=NoRateLimitMonitor()
    )

    @provider.actions.register(
        name="unlimited_action",
        description="Action without rate limits",
        payload_schema={"param": str},
        rate_limit_monitor=NoRateLimitMonitor(),
    )
    def unlimited_action(param: str) -> dict[str, str]:
        return {"result": "success"}

    assert statuses(provider, "unlimited_action", 5, {"param": "x"}) == ["success"] * 5


@pytest.mark.parametrize(
    "monitor",
    [
        TimeBasedRateLimitMonitor(min_delay=1.0, max_calls_per_second=1),
        AdvancedRateLimitMonitor(min_delay=0.5, max_calls_per_second=2, warning_threshold=0.8, critical_threshold=0.9),
        TimeBasedRateLimitMonitor(min_delay=1.0, timezone="Europe/Moscow"),
        AdvancedRateLimitMonitor(
            min_delay=1.0,
            max_calls_per_second=2,
            warning_threshold=0.8,
            critical_threshold=0.9,
            timezone="Europe/Moscow",
        ),
    ],
)
def test_time_based_and_advanced_limits(monitor: RateLimitMonitor) -> None:
    provider = Provider(name="any", rate_limit_monitor=monitor)
    provider.actions.register(name="act")(lambda: {"result": "success"})
    assert statuses(provider, "act", 2) == ["success", "limit"]


def test_custom_limit() -> None:
    provider = Provider(name="any", rate_limit_monitor=CustomRateLimitMonitor(window_size=60, max_requests=100))
    provider.actions.register(name="act")(lambda: {"result": "success"})
    assert statuses(provider, "act", 101) == ["success"] * 100 + ["limit"]


def test_token_bucket() -> None:
    provider = Provider(
        name="my-provider", rate_limit_monitor=AdvancedRateLimitMonitor(requests_per_minute=10, burst_size=20)
    )
    provider.actions.register(name="act")(lambda: {"result": "success"})
    assert statuses(provider, "act", 21) == ["success"] * 20 + ["limit"]


# --- version 1.2: rate limit provider, response format ----------------------------------------------------------------


def test_rate_limit_provider() -> None:
    def my_api_call(first: int, second: int) -> int:
        return first + second

    assert RateLimitProvider().make_safe_request(my_api_call, 1, 2) == 3
    provider = RateLimitProvider(monitor_class=TimeBasedRateLimitMonitor, min_delay=1.0, max_calls_per_second=1)
    assert provider.make_safe_request(my_api_call, 1, 2) == 3
    refused = provider.make_safe_request(my_api_call, 1, 2)
    assert refused["error"] == "Rate limit exceeded"
    assert 0 < refused["retry_after"] <= 1.0
    assert 0 <= refused["current_usage"] <= 1.0
    assert refused["limit_type"] == "time_based"


def test_rate_limit_providers_of_ones_own() -> None:
    class FacebookProvider(RateLimitProvider):
        def __init__(self) -> None:
            super().__init__(
                monitor_class=AdvancedRateLimitMonitor,
                min_delay=0.5,
                max_calls_per_second=2,
                warning_threshold=0.8,
                critical_threshold=0.9,
            )

    class CustomProvider(RateLimitProvider):
        def __init__(self) -> None:
            super().__init__(monitor_class=CustomRateLimitMonitor, window_size=60, max_requests=100)

    assert FacebookProvider().make_safe_request(int, "7") == 7
    custom = CustomProvider()
    assert [custom.make_safe_request(int, "7") for _ in range(100)] == [7] * 100
    assert custom.make_safe_request(int, "7")["limit_type"] == "custom"


# --- the shapes of a limit response -----------------------------------------------------------------------------------


def limited(monitor: Any) -> Response:
    """The response when this monitor has no more."""
    while (refusal := monitor.admit(0)) is None:
        pass
    return rate_limited(refusal)


@pytest.mark.parametrize(
    ("monitor", "keys"),
    [
        (TimeBasedRateLimitMonitor(min_delay=10), {"wait_time", "current_usage", "limit_type"}),
        (
            AdvancedRateLimitMonitor(requests_per_minute=1, burst_size=3),
            {"wait_time", "metrics", "is_near_limit", "is_critical", "call_usage", "cpu_usage"},
        ),
        (CustomRateLimitMonitor(60, 5), {"wait_time", "current_count", "limit", "window_size"}),
        (SharedRateLimitMonitor(5, 60), {"wait_time", "current_count", "limit", "window_size", "providers"}),
    ],
)
def test_limit_responses_have_the_shapes_of_the_specification(monitor: Any, keys: set[str]) -> None:
    response = limited(monitor)
    assert response.status == "limit"
    assert response.message == f"Rate limit exceeded. Please wait {response.data['wait_time']:g} seconds"
    assert response.data["wait_time"] > 0
    assert set(response.data) == keys
    json.dumps(response.data)


def test_the_metrics_of_an_advanced_limit() -> None:
    data = limited(AdvancedRateLimitMonitor(requests_per_minute=1, burst_size=3)).data
    assert data["metrics"] == {"call_count": 3, "total_time": 0.0, "total_cpu": 0.0}
    assert (data["is_near_limit"], data["is_critical"]) == (True, True)


# --- version 1.0: monitors of one's own -------------------------------------------------------------------------------


class OwnWindow(RateLimitMonitor):
    """The "Custom Rate Limit Monitor"; as there, nothing ever adds to ``requests`` but its user."""

    def __init__(self, max_requests: int = 100, window_size: int = 60, timezone: str = "UTC"):
        self.max_requests = max_requests
        self.window_size = window_size
        self.timezone = ZoneInfo(timezone)
        self.requests: list[float] = []

    def _get_current_time(self) -> float:
        return datetime.now(self.timezone).timestamp()

    def check_rate_limits(self) -> Optional[Dict[str, Any]]:  # noqa: UP006, UP045 - as the specifications write it
        current_time = self._get_current_time()
        self.requests = [t for t in self.requests if current_time - t < self.window_size]
        if len(self.requests) >= self.max_requests:
            return {
                "rate_limited": True,
                "wait_time": self.window_size - (current_time - self.requests[0]),
                "timezone": str(self.timezone),
            }
        return None


def test_a_custom_monitor_is_asked() -> None:
    monitor = OwnWindow(max_requests=2, timezone="Europe/Moscow")
    provider = Provider(name="any", rate_limit_monitor=monitor)
    provider.actions.register(name="act")(lambda: monitor.requests.append(time.time()))
    assert statuses(provider, "act", 2) == ["success", "success"]
    refused = run_action(provider, "act")
    assert refused.status == "limit"
    assert refused.data["timezone"] == "Europe/Moscow"


class OwnShared(RateLimitMonitor):
    """The "monitor shared between multiple providers"."""

    def __init__(self, max_requests: int = 100, window_size: int = 60):
        self.max_requests = max_requests
        self.window_size = window_size
        self.requests: list[float] = []
        self.lock = threading.Lock()

    def check_rate_limits(self) -> Optional[Dict[str, Any]]:  # noqa: UP006, UP045 - as the specifications write it
        current_time = time.time()
        with self.lock:
            self.requests = [t for t in self.requests if current_time - t < self.window_size]
            if len(self.requests) >= self.max_requests:
                wait_time = self.window_size - (current_time - self.requests[0])
                return {
                    "rate_limited": True,
                    "wait_time": wait_time,
                    "current_count": len(self.requests),
                    "limit": self.max_requests,
                }
        return None

    def handle_throttling(self, wait_time: float = 60) -> None:
        time.sleep(wait_time)

    def make_safe_request(self, request_func: Any, *args: Any, **kwargs: Any) -> Any:
        limits = self.check_rate_limits()
        if limits and limits.get("rate_limited"):
            self.handle_throttling(limits["wait_time"])
        with self.lock:
            self.requests.append(time.time())
        return request_func(*args, **kwargs)


def test_a_monitor_that_counts_the_calls_it_makes(slept: list[float]) -> None:
    shared_rate_limit = OwnShared(max_requests=3, window_size=60)
    one = Provider(name="provider-a", rate_limit_monitor=shared_rate_limit)
    other = Provider(name="provider-b", rate_limit_monitor=shared_rate_limit)
    for provider in (one, other):
        provider.actions.register(name="act")(lambda: {"result": "success"})
    assert statuses(one, "act", 2) == ["success", "success"]
    assert statuses(other, "act", 2) == ["success", "limit"]
    assert run_action(one, "act").data == {"wait_time": 60.0, "current_count": 3, "limit": 3}
    assert shared_rate_limit.make_safe_request(lambda: "made") == "made"
    assert slept == [60.0]


# --- version 1.0: where limits are put --------------------------------------------------------------------------------


def test_a_limit_used_by_hand_inside_an_action(slept: list[float]) -> None:
    class APIProvider(Provider):
        def __init__(self) -> None:
            global_rate_limit = TimeBasedRateLimitMonitor(min_delay=0.001)
            super().__init__(name="api-provider", auth_token="your-auth-token", rate_limit_monitor=global_rate_limit)
            self.api_rate_limit = TimeBasedRateLimitMonitor(min_delay=50)

            @self.actions.register(
                name="call_external_api",
                description="Call external API with rate limiting",
                payload_schema={"endpoint": str, "params": dict},
            )
            def call_external_api(payload: dict[str, Any]) -> ProviderResponse:
                limits = self.api_rate_limit.check_rate_limits()
                if limits and limits.get("rate_limited"):
                    self.api_rate_limit.handle_throttling(limits["wait_time"])
                result = {"endpoint": payload["endpoint"]}
                self.api_rate_limit.make_safe_request(lambda: None)
                return ProviderResponse(status="success", data=result)

    provider = APIProvider()
    payload = {"endpoint": "/users", "params": {}}
    assert run_action(provider, "call_external_api", payload).data == {"endpoint": "/users"}
    assert slept == []
    threading.Event().wait(0.002)
    assert run_action(provider, "call_external_api", payload).status == "success"
    assert [round(pause) for pause in slept] == [50]


def test_global_and_own_limits_combined() -> None:
    class CombinedRateLimitProvider(Provider):
        rate_limit_monitor = TimeBasedRateLimitMonitor(min_delay=1.0)

        def __init__(self) -> None:
            super().__init__(name="combined-rate-provider", auth_token="your-auth-token", hub_url="hub-grpc:50051")

            @self.actions.register(name="default_action", description="d", payload_schema={"param": str})
            def default_action(payload: dict[str, Any]) -> dict[str, str]:
                return {"result": "default"}

            @self.actions.register(
                name="custom_action",
                description="c",
                payload_schema={"param": str},
                rate_limit_monitor=TimeBasedRateLimitMonitor(min_delay=0.5),
            )
            def custom_action(payload: dict[str, Any]) -> dict[str, str]:
                return {"result": "custom"}

    provider = CombinedRateLimitProvider()
    payload = {"param": "x"}
    assert statuses(provider, "default_action", 2, payload) == ["success", "limit"]
    assert statuses(provider, "custom_action", 2, payload) == ["success", "limit"]
    assert 0.5 < run_action(provider, "default_action", payload).data["wait_time"] <= 1.0
    assert run_action(provider, "custom_action", payload).data["wait_time"] <= 0.5


def test_limits_that_are_set_later() -> None:
    provider = Provider(name="any")
    for name in ("a", "b", "c"):
        provider.actions.register(name=name)(lambda: {"done": True})
    provider.actions.set_default_rate_limit(min_delay=60)
    provider.actions.set_rate_limit("b", min_delay=60)
    provider.actions.set_custom_rate_limit("c", NoRateLimitMonitor())
    assert statuses(provider, "a", 2) == ["success", "limit"]
    assert statuses(provider, "b", 2) == ["success", "limit"]
    assert statuses(provider, "c", 3) == ["success"] * 3
