"""The predecessor's bugs, one test each, of those that show in a daemon as a whole.

Bugs 1 to 3 (calls without a deadline, an error for a task that was answered, a refused token hammered) are the hub
link's: ``test_hub_trouble.py`` has them. Plaintext channels only, of bug 6: ``test_hub_server.py``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from daemon_support import PROVIDERS, daemon_of, responses

from arbd.testing import RunningProvider


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "regressions.py") as daemon:
        yield daemon


def test_bug_4_execution_timeout_limits_how_long_an_action_runs(daemon: RunningProvider) -> None:
    """It was only the pause between two polls."""
    begin = time.monotonic()
    [response] = responses(daemon, [daemon.submit("too_long")])
    assert response.data == {"error_code": "TIMEOUT", "timeout": 0.3}
    assert time.monotonic() - begin < 1


def test_bug_5_a_time_based_limit_limits_on_the_task_path(daemon: RunningProvider) -> None:
    """The check was there, and nothing called it with a call to count."""
    found = responses(daemon, [daemon.submit("once_a_minute") for _ in range(3)])
    assert [response.status for response in found] == ["success", "limit", "limit"]
    assert 0 < found[1].data["wait_time"] <= 60


def test_bug_5_an_advanced_limit_lets_the_first_call_of_a_window_through(daemon: RunningProvider) -> None:
    """It refused that one, because it counted from nothing."""
    found = responses(daemon, [daemon.submit("twice_a_second") for _ in range(3)])
    assert [response.status for response in found] == ["success", "success", "limit"]


def test_bug_5_the_wall_clock_moves_no_limit(daemon: RunningProvider) -> None:
    """Somebody sets the clock back and forth between any two calls: windows are measured on a clock that only grows."""
    found = responses(daemon, [daemon.submit("jumping") for _ in range(6)])
    assert [response.status for response in found] == ["success", *["limit"] * 5]


def test_bug_6_an_action_never_sees_the_token(daemon: RunningProvider) -> None:
    [response] = responses(daemon, [daemon.submit("everything", {"a": 1})])
    assert response.data["provider"] == {"name": "regressions"}
    assert "the-real-token" not in json.dumps(response.data)


def strict(text: bytes) -> Any:
    """What a strict hub reads in a result: it refuses all of it where one word of it is not JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_bug_6_nan_is_never_sent(daemon: RunningProvider) -> None:
    """`NaN` is not JSON: a strict hub refuses the whole result. The task is answered, and told where it is."""
    verdict = daemon.submit("not_a_number").result(10)
    answer = strict(verdict.result)
    assert (verdict.status, answer["status"]) == ("error", "error")
    assert (answer["data"]["error_code"], answer["data"]["path"]) == ("RESULT_NOT_ENCODABLE", "data.nan")
    assert "data.nan" in answer["message"]


def test_bug_6_nan_is_sent_as_null_where_that_is_asked_for() -> None:
    with daemon_of(PROVIDERS / "regressions.py", result_nan="null") as daemon:
        verdict = daemon.submit("not_a_number").result(10)
    answer = strict(verdict.result)
    assert verdict.status == "success"
    assert answer["data"] == {"nan": None, "infinite": [None, None], "one": 1.0}


def test_bug_7_a_limit_set_for_the_whole_provider_limits() -> None:
    """The call that set it installed a monitor that did nothing."""
    with daemon_of(PROVIDERS / "regressions.py:limited") as daemon:
        found = responses(daemon, [daemon.submit(action) for action in ("one", "two", "one")])
        assert [response.status for response in found] == ["success", "limit", "limit"]


def test_bug_8_the_documented_style_of_handlers_works(daemon: RunningProvider) -> None:
    """`def my_action(param1: str, param2: int)` was called with a payload and an account, and failed."""
    [response] = responses(daemon, [daemon.submit("documented", {"param1": "x", "param2": 2})])
    assert response.data == {"param1": "x", "param2": 2}
