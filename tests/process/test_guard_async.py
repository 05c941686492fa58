"""What an asynchronous action leaves on the event loop ends with it, and the loop serves the next as ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from daemon_support import PROVIDERS, daemon_of, responses

from arbd.testing import Response, RunningProvider


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "guarded.py", execution_timeout=5, kill_grace=1) as daemon:
        yield daemon


def run(daemon: RunningProvider, action: str, payload: object = None) -> Response:
    [response] = responses(daemon, [daemon.submit(action, payload)])
    return response


def look(daemon: RunningProvider) -> Any:
    return run(daemon, "look_at_loop").data


@pytest.mark.parametrize(
    "how",
    [
        *("task", "tasks of tasks", "timer", "generator", "handlers", "own executor", "alarm", "policy", "other loop"),
        "stopped at its end",
    ],
)
def test_what_it_leaves_is_gone(daemon: RunningProvider, how: str) -> None:
    before = look(daemon)
    pid = run(daemon, "leave", {"how": how}).data["pid"]
    assert look(daemon) == before | {"pid": pid}
    assert run(daemon, "in_thread").data == "done"
    assert run(daemon, "own_loop").data == "done"


@pytest.mark.parametrize("how", ["closed", "really closed", "stubborn task", "executor"])
def test_what_cannot_be_undone_does_not_reach_the_next(daemon: RunningProvider, how: str) -> None:
    before = look(daemon)
    run(daemon, "leave", {"how": how})
    after = look(daemon)
    assert (after["tasks"], after["marks"], after["handler"]) == (1, 0, before["handler"])
    begin = time.monotonic()
    assert run(daemon, "in_thread").data == "done"
    assert time.monotonic() - begin < 1


def test_sleepers_in_threads_starve_nobody(daemon: RunningProvider) -> None:
    assert run(daemon, "sleepers").error_code == "TIMEOUT"
    begin = time.monotonic()
    assert run(daemon, "in_thread").data == "done"
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize("where", ["in its code", "in the loop"])
def test_an_alarm_of_its_own_strikes_in_it_and_in_no_other(daemon: RunningProvider, where: str) -> None:
    response = run(daemon, "async_late", {"where": where})
    caught, raised = "late, as it should", {"error_type": "Late"}
    assert response.data == caught or response.data.items() >= raised.items()
    assert run(daemon, "async_nap", {"seconds": 0.1}).status == "success"
