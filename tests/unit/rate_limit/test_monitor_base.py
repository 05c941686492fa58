"""A monitor needs one method; waiting and calling safely come with the base class."""

from __future__ import annotations

from typing import Any

import pytest

from arbd.rate_limit import NoRateLimitMonitor, RateLimitMonitor


class Scripted(RateLimitMonitor):
    """Answers from a list, and notes what it is told to wait."""

    def __init__(self, *answers: dict[str, Any] | None) -> None:
        self.answers = list(answers)
        self.waited: list[float] = []

    def check_rate_limits(self) -> dict[str, Any] | None:
        return self.answers.pop(0)

    def handle_throttling(self, wait_time: float = 60) -> None:
        self.waited.append(wait_time)


def test_a_monitor_must_know_how_to_check() -> None:
    assert RateLimitMonitor.__abstractmethods__ == {"check_rate_limits"}
    with pytest.raises(TypeError):
        RateLimitMonitor()  # type: ignore[abstract] # the point of the test


def test_no_rate_limit_monitor_lets_everything_through() -> None:
    monitor: RateLimitMonitor = NoRateLimitMonitor()
    assert monitor.check_rate_limits() is None
    assert monitor.make_safe_request(max, 1, 2) == 2


@pytest.mark.parametrize("answer", [None, {}, {"rate_limited": False, "wait_time": 9}])
def test_a_request_that_is_allowed_is_made_at_once(answer: dict[str, Any] | None) -> None:
    monitor = Scripted(answer)
    assert monitor.make_safe_request(dict, a=1) == {"a": 1}
    assert monitor.waited == []


def test_a_request_that_is_limited_is_made_after_the_wait() -> None:
    monitor = Scripted({"rate_limited": True, "wait_time": 2.5})
    assert monitor.make_safe_request(lambda: "done") == "done"
    assert monitor.waited == [2.5]


def test_waiting_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    NoRateLimitMonitor().handle_throttling(3)
    NoRateLimitMonitor().handle_throttling()
    assert slept == [3, 60]
