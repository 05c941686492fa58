"""What an action leaves on the event loop past its factory, its context or its threads ends with it; helper threads and
pools that it starts serve the actions after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from daemon_support import PROVIDERS, daemon_of, responses

from arbd.testing import RunningProvider

LEFT = [
    *("task_by_class", "task_in_python", "task_of_own_class", "own_factory", "task_of_a_task_in_an_empty_context"),
    *("chain_in_an_empty_context", "timers_in_an_empty_context", "raw_thread", "raw_thread_with_a_coroutine"),
    *("job_of_a_pool", "accepted_socket", "write_pipe", "server_with_slots"),
]


@pytest.fixture
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "past_the_loop.py") as running:
        yield running


def run(daemon: RunningProvider, action: str, payload: object = None) -> Any:
    [response] = responses(daemon, [daemon.submit(action, payload)])
    assert response.status == "success", response
    return response.data


@pytest.fixture(scope="module")
def one_daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "past_the_loop.py") as running:
        yield running


@pytest.mark.parametrize("how", LEFT)
def test_nothing_of_it_runs_later(one_daemon: RunningProvider, how: str) -> None:
    handles = [one_daemon.submit("leave", {"how": how}), *(one_daemon.submit("look") for _ in range(2))]
    left, *looks = responses(one_daemon, handles)
    assert left.status == "success", left
    assert [each.data["calls"] for each in looks] == [{}, {}], "called"
    assert [each.data["tasks"] for each in looks] == [[], []]


@pytest.mark.parametrize("how", ["by_future", "by_own_function", "by_coroutine", "by_pool"])
def test_a_helper_serves_the_actions_after_the_one_that_started_it(daemon: RunningProvider, how: str) -> None:
    answers = [run(daemon, "ask", {"how": how, "number": number}) for number in range(4)]
    assert [each["answer"] for each in answers] == [0, 2, 4, 6]
    assert len({each["pid"] for each in answers}) == 1


def test_a_helper_that_a_plain_action_started_serves_the_others(daemon: RunningProvider) -> None:
    pid = run(daemon, "start_helper")
    answers = [run(daemon, "ask", {"how": "by_future", "number": number}) for number in range(2)]
    assert answers == [{"pid": pid, "answer": 0}, {"pid": pid, "answer": 2}]
