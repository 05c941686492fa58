"""What a real worker sends for results that are no plain JSON, and what it says of the timeout that held."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from daemon_support import PROVIDERS, daemon_of, responses

from arbd.testing import RunningProvider

NUMERIC = PROVIDERS / "numeric.py"


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(NUMERIC, kill_grace=0.1) as running:
        yield running


def test_numpy_paths_and_ranges(daemon: RunningProvider) -> None:
    [response] = responses(daemon, [daemon.submit("mixed")])
    assert response.data == {"n": 7, "row": [0.0, 0.5, 1.0], "path": "/a", "range": [0, 1], "key": True}


def test_nan_is_refused_with_its_path(daemon: RunningProvider) -> None:
    [response] = responses(daemon, [daemon.submit("gap")])
    assert response.status == "error"
    assert (response.data["error_code"], response.data["path"]) == ("RESULT_NOT_ENCODABLE", "data.rates[1]")
    assert 'result.nan = "null"' in (response.message or "")


def test_nan_is_null_where_the_setting_says_so() -> None:
    with daemon_of(NUMERIC, result_nan="null") as daemon:
        [response] = responses(daemon, [daemon.submit("gap")])
        assert (response.status, response.data) == ("success", {"rates": [1.0, None], "none": None})


@pytest.mark.parametrize(
    ("action", "timeout", "why"),
    [
        ("default", 0.3, "the setting execution_timeout: raise it (TASK_EXECUTION_TIMEOUT, --timeout)"),
        ("own", 0.2, "the timeout= of the action"),
        ("stuck", 0.2, "the timeout= of the action"),  # said by the supervisor, which kills the worker
    ],
)
def test_a_timeout_is_told_with_what_raises_it(daemon: RunningProvider, action: str, timeout: float, why: str) -> None:
    [response] = responses(daemon, [daemon.submit(action)])
    assert response.data == {"error_code": "TIMEOUT", "timeout": timeout}
    assert f"timed out after {timeout:g} seconds, {why}" in (response.message or "")
