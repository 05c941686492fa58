"""The monitor refuses what cannot work, with the reason and without the password, and answers in the spec's shape."""

from __future__ import annotations

from typing import Any

import pytest

from arbd.errors import RegistrationError
from arbd.model.response import rate_limited
from arbd.rate_limit import RedisRateLimitMonitor
from arbd.rate_limit.checks import same_limit
from arbd.rate_limit.limit_monitor import LimitMonitor
from arbd.rate_limit.usage import Figures, Totals
from arbd.rate_limit.words import in_words

URL = "redis://user:open-sesame@db.example:6379/0"


class Refuses:
    """A gate that is shut."""

    def __init__(self, wait_ns: int, usage: float) -> None:
        self._wait_ns = wait_ns
        self._usage = usage

    def take(self, until_ns: int = 0) -> int:
        return self._wait_ns

    peek = take

    def begin(self) -> tuple[int, int]:
        return 0, 0

    def end(self, begun: tuple[int, int], *, failed: bool = False) -> None:
        """Nothing is measured."""

    def figures(self) -> Figures:
        return Figures(Totals(0, 0, 0), self._usage, 0.0, 0)


@pytest.mark.parametrize("live", [False, True], ids=["made by its author", "set while the daemon runs"])
def test_the_limit_response_is_shape_nine(live: bool) -> None:
    monitor: LimitMonitor = RedisRateLimitMonitor(redis_url=URL, key_prefix="my_provider:rate_limit")
    if live:
        monitor = LimitMonitor.of(monitor.spec)
    monitor.attach(Refuses(15_000_000_000, 0.95))
    refusal = monitor.admit(deadline=1.0)
    assert refusal is not None
    response = rate_limited(refusal)
    assert (response.status, response.message) == ("limit", "Rate limit exceeded. Please wait 15 seconds")
    assert response.data == {
        "wait_time": 15.0,
        "current_count": 95,
        "limit": 100,
        "window_size": 60,
        "window_key": "my_provider:rate_limit:60000",
    }


def test_the_spec_gives_url_and_prefix_by_place_or_by_name() -> None:
    by_place, by_name = RedisRateLimitMonitor(URL, "p"), RedisRateLimitMonitor(redis_url=URL, key_prefix="p")
    assert same_limit(by_place.spec, by_name.spec)
    assert RedisRateLimitMonitor(URL).key_prefix == "rate_limit"


def test_another_server_is_another_limit() -> None:
    one, other = RedisRateLimitMonitor(URL), RedisRateLimitMonitor(URL.replace("/0", "/1"))
    assert not same_limit(one.spec, other.spec)


def test_the_password_is_in_no_text() -> None:
    monitor = RedisRateLimitMonitor(URL)
    shown = f"{monitor!r} {monitor.spec!r} {in_words(monitor.spec)} {monitor.spec.redis}"
    assert "open-sesame" not in shown
    assert in_words(monitor.spec) == "100 calls in any 60 s, over all who share 'rate_limit' in Redis"


@pytest.mark.parametrize("how", ["redact", "attach"])
def test_the_url_is_let_go_of_before_workers_share_the_memory(how: str) -> None:
    monitor = RedisRateLimitMonitor(URL)
    if how == "redact":
        monitor.redact()
        monitor.redact()
    else:
        monitor.attach(Refuses(1, 0.0))
    assert all(URL not in str(value) for value in vars(monitor).values())
    assert monitor.spec.redis is not None
    assert monitor.spec.redis.url == ""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"redis_url": None}, "redis_url is a text such as"),
        ({"redis_url": "http://host"}, "redis_url has one of these forms"),
        ({"redis_url": "localhost:6379"}, "redis_url has one of these forms"),
        ({"redis_url": "redis://"}, "names no host"),
        ({"redis_url": "redis://host:0"}, "names no host"),
        ({"redis_url": "unix://"}, "names no socket"),
        ({"redis_url": "redis://host/first"}, "number of a database"),
        ({"redis_url": "redis://u:secret/7@host"}, "percent-encoded"),
        ({"redis_url": "redis://[host"}, "percent-encoded"),
        ({"key_prefix": " "}, "key_prefix is a text"),
        ({"key_prefix": 5}, "key_prefix is a text"),
        ({"timeout": 0}, "from 0.01 to 10"),
        ({"timeout": float("nan")}, "timeout is a number"),
        ({"timeout": True}, "timeout is a number"),
        ({"on_backend_error": "ignore"}, "one of open, closed, local"),
        ({"max_requests": 0}, "max_requests is a number of calls from 1"),
        ({"window_size": float("inf")}, "window_size is a number of seconds"),
        ({"on_limit": "drop"}, "on_limit is one of"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(RegistrationError, match=reason) as caught:
        RedisRateLimitMonitor(**{"redis_url": URL, **arguments})
    assert "RedisRateLimitMonitor: " in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://h", "rediss://h:6380/3", "unix:///run/redis.sock?db=2", "redis://:p%40w@h"])
def test_every_usual_url_is_taken(url: str) -> None:
    backend = RedisRateLimitMonitor(url).spec.redis
    assert backend is not None
    assert backend.url == url


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbd.rate_limit.storage.redis_checks.find_spec", lambda name: None)
    with pytest.raises(RegistrationError, match=r"pip install 'arbd\[redis\]'"):
        RedisRateLimitMonitor(URL)
