"""``async def`` actions: concurrent inside one task, cancelled at the deadline, on a loop that outlives all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_support import daemon_of, responses

from arbd.testing import Response, RunningProvider


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(execution_timeout=0.5, kill_grace=0.2) as daemon:
        yield daemon


def run(daemon: RunningProvider, action: str, payload: object = None) -> Response:
    [response] = responses(daemon, [daemon.submit(action, payload)])
    return response


def loop_of(daemon: RunningProvider) -> tuple[int, int]:
    """Which process and which event loop serve async actions now."""
    data = run(daemon, "async_sleep", {"seconds": 0}).data
    return data["pid"], data["loop"]


def test_one_task_may_wait_for_many_things_at_once(daemon: RunningProvider) -> None:
    response = run(daemon, "async_many", {"count": 200, "seconds": 0.1})
    assert response.data["took"] < 0.4


@pytest.mark.parametrize("action", ["kept_async_sleep", "kept_async_group"])
def test_at_the_deadline_it_is_cancelled_and_the_loop_survives(daemon: RunningProvider, action: str) -> None:
    before = loop_of(daemon)
    assert run(daemon, action, {"seconds": 60}).error_code == "TIMEOUT"
    assert loop_of(daemon) == before


def test_its_cleanup_runs(daemon: RunningProvider, tmp_path: Path) -> None:
    assert run(daemon, "async_cleanup", {"path": str(tmp_path / "clean")}).error_code == "TIMEOUT"
    assert (tmp_path / "clean").exists()


@pytest.mark.parametrize(
    ("how", "error_type"),
    [
        ("TimeoutError", "TimeoutError"),
        ("ValueError", "ValueError"),
        ("sys.exit", "SystemExit"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("RecursionError", "RecursionError"),
    ],
)
def test_what_it_raises_is_an_answer_and_the_loop_survives(daemon: RunningProvider, how: str, error_type: str) -> None:
    """Its own `TimeoutError` is not the deadline's."""
    before = loop_of(daemon)
    response = run(daemon, "async_fail", {"how": how})
    assert (response.status, response.data["error_type"]) == ("error", error_type)
    assert loop_of(daemon) == before


def test_a_plain_action_between_async_ones_has_its_own_deadline(daemon: RunningProvider) -> None:
    before = loop_of(daemon)
    assert run(daemon, "kept_sleep", {"seconds": 60}).error_code == "TIMEOUT"
    assert run(daemon, "kept_async_sleep", {"seconds": 60}).error_code == "TIMEOUT"
    assert run(daemon, "sleep", {"seconds": 0.01}).status == "success"
    assert loop_of(daemon) == before
