"""A provider checks its arguments, knows which were given, and keeps its token out of every text."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from arbd.author.actions import action
from arbd.author.provider import Provider, describe
from arbd.errors import ConfigError, DuplicateActionError
from arbd.rate_limit import NoRateLimitMonitor, RateLimitMonitor

TOKEN = "a-token-that-nobody-may-see"


def test_defaults() -> None:
    provider = Provider("fx")
    assert (provider.name, provider.auth_token, provider.hub_url) == ("fx", None, "hub-grpc:50051")
    assert (provider.execution_timeout, provider.timezone, provider.rate_limit_monitor) == (1, "UTC", None)
    assert list(provider.actions) == []


def test_every_argument_is_an_attribute() -> None:
    monitor, logger = NoRateLimitMonitor(), logging.getLogger("author")
    provider = Provider(
        name="fx",
        auth_token=TOKEN,
        hub_url="hub.example:1",
        execution_timeout=0.5,
        rate_limit_monitor=monitor,
        logger=logger,
        timezone="Europe/Moscow",
    )
    assert (provider.name, provider.auth_token, provider.hub_url) == ("fx", TOKEN, "hub.example:1")
    assert (provider.execution_timeout, provider.timezone) == (0.5, "Europe/Moscow")
    assert provider.rate_limit_monitor is monitor
    assert provider.logger is logger


def test_the_default_logger_has_levels() -> None:
    Provider("fx").logger.setLevel("DEBUG")


def test_every_wrong_argument_is_listed() -> None:
    with pytest.raises(ConfigError) as caught:
        Provider(
            name=" ",
            auth_token=b"secret",  # type: ignore[arg-type] # the point of the test
            hub_url="",
            execution_timeout=float("inf"),
            rate_limit_monitor=object(),  # type: ignore[arg-type] # the point of the test
            timezone="Europe",
        )
    assert [problem.partition(":")[0] for problem in caught.value.problems[:5]] == [
        "name",
        "auth_token",
        "hub_url",
        "execution_timeout",
        "timezone",
    ]
    [monitor] = caught.value.problems[5:]
    assert monitor.startswith("rate_limit_monitor needs a method check_rate_limits(); got <object")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, True, "1", float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigError, match="execution_timeout: needs a number of seconds above 0"):
        Provider("fx", execution_timeout=timeout)


@pytest.mark.parametrize("timezone", ["Mars/Olympus", "", "../etc/passwd", "/etc/passwd", "Europe", "a\0b", 3])
def test_a_zone_that_is_none_is_refused(timezone: Any) -> None:
    with pytest.raises(ConfigError, match="timezone"):
        Provider("fx", timezone=timezone)


def test_given_tells_arguments_from_defaults() -> None:
    assert Provider("fx", None, hub_url="hub-grpc:50051").given == {"name": "fx", "hub_url": "hub-grpc:50051"}


def test_given_knows_attributes_that_were_set_later() -> None:
    provider = Provider("fx")
    provider.execution_timeout = 5
    assert provider.given == {"name": "fx", "execution_timeout": 5}


def test_a_monitor_may_be_a_class_attribute() -> None:
    monitor = NoRateLimitMonitor()

    class Limited(Provider):
        rate_limit_monitor: RateLimitMonitor | None = monitor

    assert Limited("fx").rate_limit_monitor is monitor
    own = NoRateLimitMonitor()
    assert Limited("fx", rate_limit_monitor=own).rate_limit_monitor is own


def test_marked_methods_are_registered() -> None:
    class Desk(Provider):
        @action(name="ping", payload_schema={"a": int})
        def ping(self, a: int) -> str:
            return f"{self.name} {a}"

    desk = Desk("fx")
    assert desk.actions["ping"].handler(3) == "fx 3"
    assert list(Desk("other").actions) == ["ping"]
    with pytest.raises(DuplicateActionError):
        desk.actions.register(name="ping")(lambda: None)


def test_the_token_is_in_no_text() -> None:
    provider = Provider("fx", TOKEN)
    provider.actions.register(name="ping")(lambda: None)
    assert repr(provider) == "<Provider 'fx', actions: ping>"
    assert TOKEN not in str(vars(provider).get("actions"))


def test_redact_leaves_a_stand_in_of_equal_length() -> None:
    provider = Provider("fx", TOKEN)
    provider.redact()
    assert provider.auth_token is not None
    assert len(provider.auth_token) == len(TOKEN)
    assert TOKEN not in repr(vars(provider))


def test_redact_without_a_token_changes_nothing() -> None:
    provider = Provider("fx")
    provider.redact()
    assert provider.auth_token is None


def test_describe() -> None:
    provider = Provider("fx", TOKEN, hub_url="hub.example:1", timezone="Europe/Moscow")
    provider.actions.register(name="quote", description="A price", payload_schema={"now": str}, timeout=2.5)(
        lambda now: now
    )

    @provider.actions.register(name="book", account_schema={"api_key": str})
    async def book(payload: dict[str, Any]) -> None: ...

    description = describe(provider, ["sender"], ["/srv/desk.py"])
    assert description.given == {
        "name": "fx",
        "hub.auth_token": TOKEN,
        "hub.url": "hub.example:1",
        "timezone": "Europe/Moscow",
    }
    assert (description.threads, description.sources) == (["sender"], ["/srv/desk.py"])
    quote, booking = description.actions
    assert (quote.name, quote.description, quote.timeout) == ("quote", "A price", 2.5)
    assert quote.signature == "quote(now)"
    assert quote.is_async is False
    assert quote.payload_schema == provider.actions["quote"].payload_schema.json_schema()
    assert quote.account_schema is None
    assert quote.notes == ["'now' is arbd's own value here; the payload key of that name is payload['now']"]
    assert (booking.name, booking.is_async) == ("book", True)
    assert booking.account_schema == provider.actions["book"].account_schema.json_schema()
