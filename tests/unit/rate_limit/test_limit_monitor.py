"""The built-in monitors: what they refuse at construction, what they answer at the limit, how one asks by hand."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest

from arbd import Provider, RegistrationError
from arbd.model.response import rate_limited
from arbd.rate_limit import (
    AdaptiveRateLimitMonitor,
    AdvancedRateLimitMonitor,
    CustomRateLimitMonitor,
    NoRateLimitMonitor,
    RateLimitMonitor,
    SharedRateLimitMonitor,
    TimeBasedRateLimitMonitor,
    registry,
)
from arbd.rate_limit.checks import same_limit
from arbd.rate_limit.gates import LocalGate
from arbd.rate_limit.limit_monitor import LimitMonitor, log_crossing
from arbd.rate_limit.words import in_words
from arbd.rate_limit_provider import RateLimitProvider
from arbd.testing import run_action

SECOND = 1_000_000_000


class Hands:
    """A clock that is moved by hand, and by whoever sleeps."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND
        self.cpu_ns = 0
        self.slept: list[float] = []

    def clock(self) -> int:
        return self.now_ns

    def cpu_clock(self) -> int:
        return self.cpu_ns

    def utc_ns(self) -> int:
        return self.now_ns

    def new_lock(self) -> threading.Lock:
        return threading.Lock()

    def sleep(self, ns: int) -> None:
        self.slept.append(ns / SECOND)
        self.now_ns += ns


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands = Hands()
    monkeypatch.setattr("arbd.host.timing.ProcessTiming", lambda: hands)
    monkeypatch.setattr("time.sleep", lambda s: hands.sleep(round(s * SECOND)))
    return hands


def admitted(monitor: LimitMonitor, times: int) -> int:
    return sum(monitor.admit(0) is None for _ in range(times))


# -- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, nan, inf, -inf, 1e12, "1", True, [1]])
@pytest.mark.parametrize(
    ("monitor", "argument"),
    [
        (TimeBasedRateLimitMonitor, "min_delay"),
        (TimeBasedRateLimitMonitor, "max_calls_per_second"),
        (AdvancedRateLimitMonitor, "requests_per_minute"),
        (AdvancedRateLimitMonitor, "max_cpu_per_second"),
        (AdvancedRateLimitMonitor, "max_time_per_second"),
        (CustomRateLimitMonitor, "window_size"),
        (CustomRateLimitMonitor, "max_requests"),
    ],
)
def test_numbers_that_make_no_limit_are_refused(
    monitor: Callable[..., LimitMonitor], argument: str, value: object
) -> None:
    with pytest.raises(RegistrationError, match=f"Monitor: {argument} is a .*number"):
        monitor(**{argument: value})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: TimeBasedRateLimitMonitor(), "limits nothing"),
        (lambda: AdvancedRateLimitMonitor(), "limits nothing"),
        (
            lambda: AdvancedRateLimitMonitor(requests_per_minute=60, burst_size=0),
            "burst_size is a number of calls",
        ),
        (lambda: AdvancedRateLimitMonitor(requests_per_minute=60, burst_size=1.5), "burst_size is a whole number"),  # type: ignore[arg-type] # the point
        (lambda: AdvancedRateLimitMonitor(min_delay=1, burst_size=5), "burst_size goes with requests_per_minute"),
        (lambda: AdvancedRateLimitMonitor(min_delay=1, warning_threshold=0.95), "above critical_threshold"),
        (lambda: AdvancedRateLimitMonitor(min_delay=1, warning_threshold=80), "warning_threshold is a number"),
        (
            lambda: TimeBasedRateLimitMonitor(min_delay=1, timezone="Mars/Olympus"),
            "no time zone is called",
        ),
        (lambda: TimeBasedRateLimitMonitor(min_delay=1, timezone=3), "timezone is a name"),  # type: ignore[arg-type] # the point
        (lambda: TimeBasedRateLimitMonitor(min_delay=1, on_limit="queue"), "on_limit is one of reject, wait, hold"),
        (lambda: TimeBasedRateLimitMonitor(min_delay=1, business_hours="9-18", outside="closed"), "not of the form"),
        (lambda: TimeBasedRateLimitMonitor(min_delay=1, business_hours="09:00-18:00"), "needs outside="),
        (lambda: TimeBasedRateLimitMonitor(min_delay=1, outside="closed"), "give business_hours too"),
        (
            lambda: TimeBasedRateLimitMonitor(min_delay=1, business_hours="09:00-18:00", outside={"calls": 3}),
            "there is no calls",
        ),
        (
            lambda: TimeBasedRateLimitMonitor(min_delay=1, business_hours="09:00-18:00", outside={"min_delay": 0}),
            "outside: min_delay",
        ),
        (lambda: TimeBasedRateLimitMonitor(min_delay=1, name=" "), "name is a text"),
    ],
)
def test_limits_that_cannot_be_are_refused_with_the_reason(make: Callable[[], object], reason: str) -> None:
    with pytest.raises(RegistrationError, match=reason):
        make()


# -- what they allow -------------------------------------------------------------------------------------------------


def test_spacing(hands: Hands) -> None:
    monitor = TimeBasedRateLimitMonitor(min_delay=1.0)
    assert admitted(monitor, 3) == 1
    hands.now_ns += SECOND - 1
    assert admitted(monitor, 3) == 0
    hands.now_ns += 1
    assert admitted(monitor, 3) == 1


def test_calls_per_second_also_in_fractions(hands: Hands) -> None:
    assert admitted(TimeBasedRateLimitMonitor(max_calls_per_second=2), 5) == 2
    half = TimeBasedRateLimitMonitor(max_calls_per_second=0.5)
    assert admitted(half, 5) == 1
    refusal = half.admit(0)
    assert refusal is not None
    assert refusal["wait_time"] == 2.0


def test_a_token_bucket(hands: Hands) -> None:
    monitor = AdvancedRateLimitMonitor(requests_per_minute=60, burst_size=10)
    assert admitted(monitor, 20) == 10
    hands.now_ns += 3 * SECOND
    assert admitted(monitor, 20) == 3


def test_a_burst_that_is_not_given_is_the_calls_of_a_second(hands: Hands) -> None:
    assert admitted(AdvancedRateLimitMonitor(requests_per_minute=300), 20) == 5
    assert admitted(AdvancedRateLimitMonitor(requests_per_minute=10), 20) == 1


def test_a_window(hands: Hands) -> None:
    monitor = CustomRateLimitMonitor(window_size=60, max_requests=100)
    assert admitted(monitor, 150) == 100


def test_business_hours_have_their_own_rate(hands: Hands) -> None:
    monitor = TimeBasedRateLimitMonitor(
        max_calls_per_second=5, business_hours="09:00-18:00", outside={"max_calls_per_second": 2}
    )  # the hands' clock starts on a Thursday night in 1970
    assert admitted(monitor, 10) == 2
    hands.now_ns += 12 * 3600 * SECOND
    assert admitted(monitor, 10) == 5


def test_run_time_budgets(hands: Hands) -> None:
    monitor = AdvancedRateLimitMonitor(max_time_per_second=0.5)

    def works_for_a_second() -> str:
        hands.now_ns += SECOND
        return "done"

    assert monitor.make_safe_request(works_for_a_second) == "done"
    refusal = monitor.check_rate_limits()
    assert refusal is not None
    assert refusal["wait_time"] == 2.0  # half a second of debt, and half a second for the next one
    assert refusal["metrics"] == {"call_count": 1, "total_time": 1.0, "total_cpu": 0.0}


# -- what they answer ------------------------------------------------------------------------------------------------


def test_the_response_of_a_time_based_limit(hands: Hands) -> None:
    monitor = TimeBasedRateLimitMonitor(min_delay=5.5)
    monitor.admit(0)
    refusal = monitor.admit(0)
    assert refusal is not None
    response = rate_limited(refusal)
    assert (response.status, response.message) == ("limit", "Rate limit exceeded. Please wait 5.5 seconds")
    assert response.data == {"wait_time": 5.5, "current_usage": 1.0, "limit_type": "time_based"}


def test_the_response_of_an_advanced_limit(hands: Hands) -> None:
    monitor = AdvancedRateLimitMonitor(max_calls_per_second=2)
    admitted(monitor, 2)
    refusal = monitor.admit(0)
    assert refusal is not None
    assert rate_limited(refusal).data == {
        "wait_time": 1.0,
        "metrics": {"call_count": 2, "total_time": 0.0, "total_cpu": 0.0},
        "is_near_limit": True,
        "is_critical": True,
        "call_usage": 1.0,
        "cpu_usage": 0.0,
    }


def test_the_response_of_a_window(hands: Hands) -> None:
    monitor = CustomRateLimitMonitor(window_size=60, max_requests=3)
    admitted(monitor, 3)
    hands.now_ns += 20 * SECOND
    refusal = monitor.admit(0)
    assert refusal is not None
    assert rate_limited(refusal).data == {"wait_time": 40.0, "current_count": 3, "limit": 3, "window_size": 60}


def test_a_check_tells_in_the_words_of_the_spec_and_counts_nothing(hands: Hands) -> None:
    monitor = TimeBasedRateLimitMonitor(min_delay=5)
    assert [monitor.check_rate_limits() for _ in range(3)] == [None] * 3
    monitor.admit(0)
    told = monitor.check_rate_limits()
    assert told == {
        "error": "Rate limit exceeded",
        "retry_after": 5.0,
        "current_usage": 1.0,
        "limit_type": "time_based",
        "rate_limited": True,
        "wait_time": 5.0,
    }


def test_who_waits_as_long_as_told_is_let_through(hands: Hands) -> None:
    monitor = TimeBasedRateLimitMonitor(min_delay=1 / 3, max_calls_per_second=2.5)
    for _ in range(20):
        while (refusal := monitor.admit(0)) is not None:
            hands.now_ns += round(refusal["wait_time"] * SECOND)
            assert monitor.check_rate_limits() is None


# -- on_limit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_limit", ["wait", "hold"])
def test_a_task_waits_for_its_turn_if_that_comes_before_its_deadline(hands: Hands, on_limit: str) -> None:
    monitor = TimeBasedRateLimitMonitor(min_delay=2, on_limit=on_limit)
    deadline = hands.now_ns / SECOND + 3
    assert [monitor.admit(deadline) for _ in range(2)] == [None, None]
    assert hands.slept == [2.0]
    refusal = monitor.admit(deadline)
    assert refusal is not None
    assert refusal["wait_time"] == 2.0
    assert hands.slept == [2.0]


def test_a_request_by_hand_is_refused_or_waits(hands: Hands) -> None:
    rejecting = TimeBasedRateLimitMonitor(min_delay=2)
    assert rejecting.make_safe_request(lambda: "made") == "made"
    assert rejecting.make_safe_request(lambda: "made")["error"] == "Rate limit exceeded"
    assert hands.slept == []
    waiting = TimeBasedRateLimitMonitor(min_delay=2, on_limit="wait")
    assert [waiting.make_safe_request(lambda: "made") for _ in range(2)] == ["made", "made"]
    assert hands.slept == [2.0]


def test_a_request_may_be_async() -> None:
    monitor = CustomRateLimitMonitor(window_size=60, max_requests=2)

    async def request(value: int) -> int:
        return value

    async def main() -> list[Any]:
        return list(await asyncio.gather(*(monitor.make_safe_request(request, n) for n in range(3))))

    answers = asyncio.run(main())
    assert answers[:2] == [0, 1]
    assert answers[2]["retry_after"] > 0


def test_threads_share_one_limit() -> None:
    monitor = CustomRateLimitMonitor(window_size=60, max_requests=50)
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.extend(monitor.make_safe_request(lambda: "made") for _ in range(25)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answer == "made" for answer in answers) == 50


# -- thresholds ------------------------------------------------------------------------------------------------------


def lines(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [record.levelno for record in caplog.records if record.name == "arbd.limits"]


def test_a_threshold_is_logged_once_per_crossing(hands: Hands) -> None:
    crossings: list[int] = []
    monitor = AdvancedRateLimitMonitor(requests_per_minute=60, burst_size=10)
    monitor.attach(LocalGate(monitor.spec, hands, lambda spec, usage, level: crossings.append(level)))
    admitted(monitor, 30)
    assert crossings == [1, 2]
    hands.now_ns += int(1.5 * SECOND)
    monitor.check_rate_limits()
    admitted(monitor, 30)
    assert crossings == [1, 2]  # it went down to 0.85: not far enough to be quiet
    hands.now_ns += 60 * SECOND
    admitted(monitor, 1)
    assert crossings == [1, 2, 0]


def test_time_based_limits_log_nothing(hands: Hands) -> None:
    crossings: list[int] = []
    monitor = TimeBasedRateLimitMonitor(max_calls_per_second=2)
    monitor.attach(LocalGate(monitor.spec, hands, lambda spec, usage, level: crossings.append(level)))
    admitted(monitor, 5)
    assert crossings == []


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, logging.ERROR])
def test_a_crossing_is_a_line_of_its_level(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, str, dict[str, Any]]] = []

    class Log:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda event, **fields: said.append((name, event, fields))

    monkeypatch.setattr("arbd.logs.get_logger", lambda name: Log())
    monitor = AdvancedRateLimitMonitor(max_calls_per_second=3, name="api")
    log_crossing(monitor.spec, 0.85, (level - logging.INFO) // 10)
    names = {logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
    assert [(name, fields) for name, _, fields in said] == [(names[level], {"limit": "api", "usage": 0.85})]


# -- where they sit --------------------------------------------------------------------------------------------------


@pytest.fixture
def no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_monitors", [])


def test_every_monitor_is_found_and_named_after_its_place(no_others: None) -> None:
    class Mine(Provider):
        rate_limit_monitor = TimeBasedRateLimitMonitor(min_delay=1)

        def __init__(self) -> None:
            super().__init__(name="mine")
            self.api_rate_limit = TimeBasedRateLimitMonitor(min_delay=0.5)
            shared = TimeBasedRateLimitMonitor(min_delay=2)
            self.actions.register(name="a", rate_limit_monitor=shared)(lambda: None)
            self.actions.register(name="b", rate_limit_monitor=shared)(lambda: None)

    loose = CustomRateLimitMonitor()
    named = CustomRateLimitMonitor(name="provider")
    found = registry.collect(Mine())
    assert [(it.spec.name, it.spec.scope, it.spec.actions) for it in found] == [
        ("provider", "provider", []),
        ("limit 2", "by hand", []),
        ("provider #2", "by hand", []),
        ("api_rate_limit", "by hand", []),
        ("action a", "action", ["a", "b"]),
    ]
    assert (found[1], found[2]) == (loose, named)
    assert [it.spec.name for it in registry.collect(Mine())][:5] == [it.spec.name for it in found]


def test_a_monitor_that_nobody_has_any_more_is_forgotten(no_others: None) -> None:
    CustomRateLimitMonitor()
    kept = CustomRateLimitMonitor()
    assert registry.collect(Provider("any")) == [kept]


def test_a_monitor_that_is_made_inside_a_worker_says_that_it_holds_there_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[tuple[str, str]] = []

    class Log:
        def warning(self, event: str, *, monitor: str, hint: str) -> None:
            said.append((event, monitor))

    monkeypatch.setattr("arbd.logs.get_logger", lambda name: Log())
    monkeypatch.setattr(registry, "_sealed", True)
    monitor = CustomRateLimitMonitor(60, 1)
    assert said == []
    assert [monitor.admit(0) is None for _ in range(2)] == [True, False]
    assert said == [("limit_made_late", "CustomRateLimitMonitor")]


@pytest.mark.parametrize(("most", "least"), [(0, 1), (3, 4), (2.5, 1)])
def test_bounds_of_calls_at_once_that_cannot_be_are_refused(most: Any, least: Any) -> None:
    with pytest.raises(RegistrationError, match="AdaptiveRateLimitMonitor: m"):
        AdaptiveRateLimitMonitor(max_concurrency=most, min_concurrency=least)


def test_calls_at_once(hands: Hands) -> None:
    monitor = AdaptiveRateLimitMonitor(max_concurrency=2)
    answers: list[Any] = []

    def call(depth: int) -> None:
        answers.append(monitor.make_safe_request(call, depth - 1) if depth else None)

    call(3)
    refused, *made = answers  # the innermost comes first: two were running
    assert (refused["limit_type"], made) == ("adaptive", [None, None])


def test_limits_in_words() -> None:
    assert in_words(AdvancedRateLimitMonitor(min_delay=0.5, max_calls_per_second=2, max_cpu_per_second=0.3).spec) == (
        "0.5 s between starts, 2 calls in any second, 0.3 s of CPU per second"
    )
    assert in_words(AdvancedRateLimitMonitor(requests_per_minute=60, burst_size=10).spec) == (
        "60 calls per minute, 10 at once"
    )
    assert in_words(SharedRateLimitMonitor(100, 60, name="api").spec) == (
        "100 calls in any 60 s, over all daemons of this host that share 'api'"
    )
    assert in_words(AdaptiveRateLimitMonitor(20).spec) == "1 to 20 calls at once, as they fare"
    by_hours = CustomRateLimitMonitor(60, 100, business_hours="09:00-18:00", outside={"min_delay": 3})
    assert in_words(by_hours.spec) == "in business hours: 100 calls in any 60 s; outside: 3 s between starts"


def test_the_same_limit_elsewhere_is_the_same_limit() -> None:
    one, other = CustomRateLimitMonitor(60, 100, name="a"), CustomRateLimitMonitor(60, 100, name="b", on_limit="wait")
    assert same_limit(one.spec, other.spec)
    assert not same_limit(one.spec, CustomRateLimitMonitor(60, 101).spec)


# -- actions ---------------------------------------------------------------------------------------------------------


def test_the_task_path_counts() -> None:
    provider = Provider("any", rate_limit_monitor=CustomRateLimitMonitor(window_size=60, max_requests=2))
    provider.actions.register(name="act")(lambda: {"done": True})
    assert [run_action(provider, "act").status for _ in range(3)] == ["success", "success", "limit"]


def test_a_check_that_an_author_adds_comes_before_the_limit() -> None:
    class Moody(CustomRateLimitMonitor):
        open = False

        def check_rate_limits(self) -> dict[str, Any] | None:
            return None if self.open else {"rate_limited": True, "wait_time": 7}

    monitor = Moody(window_size=60, max_requests=1)
    provider = Provider("any", rate_limit_monitor=monitor)
    provider.actions.register(name="act")(lambda: {"done": True})
    assert run_action(provider, "act").data == {"wait_time": 7}
    monitor.open = True
    assert [run_action(provider, "act").status for _ in range(2)] == ["success", "limit"]


def test_a_monitor_that_counts_in_make_safe_request_is_called_through_it() -> None:
    class Counting(RateLimitMonitor):
        made = 0

        def check_rate_limits(self) -> dict[str, Any] | None:
            return {"rate_limited": True, "wait_time": 3, "limit": 2} if self.made >= 2 else None

        def make_safe_request(self, request_func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            self.made += 1
            return request_func(*args, **kwargs)

    provider = Provider("any", rate_limit_monitor=Counting())
    provider.actions.register(name="act")(lambda: {"done": True})
    assert [run_action(provider, "act").status for _ in range(3)] == ["success", "success", "limit"]


def test_what_an_action_takes_is_measured_also_when_it_fails() -> None:
    monitor = AdvancedRateLimitMonitor(max_time_per_second=0.001)
    provider = Provider("any", rate_limit_monitor=monitor)

    @provider.actions.register(name="act")
    def act() -> None:
        threading.Event().wait(0.005)
        raise ValueError("no")

    assert [run_action(provider, "act").status for _ in range(2)] == ["error", "limit"]
    assert monitor.gate.figures().totals.wall_ns >= 5_000_000


# -- RateLimitProvider -----------------------------------------------------------------------------------------------


def test_a_rate_limit_provider_makes_its_monitor(hands: Hands) -> None:
    provider = RateLimitProvider(monitor_class=TimeBasedRateLimitMonitor, min_delay=0.1, max_calls_per_second=10)
    assert provider.make_safe_request(max, 1, 2) == 2
    assert provider.make_safe_request(max, 1, 2)["error"] == "Rate limit exceeded"
    assert provider.check_rate_limits() is not None
    assert provider.get_config() == {"min_delay": 0.1, "max_calls_per_second": 10}
    provider.update_config(min_delay=0.05, max_calls_per_second=20)
    assert provider.make_safe_request(max, 1, 2) == 2
    assert provider.get_config() == {"min_delay": 0.05, "max_calls_per_second": 20}


def test_a_configuration_that_is_refused_changes_nothing() -> None:
    provider = RateLimitProvider(monitor_class=TimeBasedRateLimitMonitor, min_delay=0.1)
    before = provider.monitor
    with pytest.raises(RegistrationError):
        provider.update_config(min_delay=-1)
    assert (provider.monitor, provider.get_config()) == (before, {"min_delay": 0.1})


def test_a_rate_limit_provider_limits_nothing_unless_told() -> None:
    provider = RateLimitProvider()
    assert isinstance(provider.monitor, NoRateLimitMonitor)
    assert [provider.make_safe_request(int, "7") for _ in range(10)] == [7] * 10
    with pytest.raises(TypeError, match="min_delay need a monitor_class"):
        RateLimitProvider(min_delay=1)
