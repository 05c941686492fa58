"""What actions leave on the event loop calls nothing during later tasks; what a resource does there, threads included,
goes on in the same worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from daemon_support import PROVIDERS, daemon_of, responses

from arbd.testing import RunningProvider


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "on_loop.py") as running:
        yield running


def run(daemon: RunningProvider, action: str, payload: object = None) -> Any:
    [response] = responses(daemon, [daemon.submit(action, payload)])
    return response.data


@pytest.mark.parametrize("how", ["reader", "chain", "timer", "thread"])
def test_nothing_is_called_later(daemon: RunningProvider, how: str) -> None:
    before = run(daemon, "look")
    assert run(daemon, "leave", {"how": how}) == before["pid"]
    after = run(daemon, "look")
    assert (after["pid"], after["calls"]) == (before["pid"], {})


def test_a_resource_that_works_in_threads_goes_on_in_the_same_worker(daemon: RunningProvider) -> None:
    found = [run(daemon, "look") for _ in range(8)]
    assert len({each["pid"] for each in found}) == 1
    assert sum(each["refreshed"] for each in found) > 0
    assert not any(each["ended"] for each in found)
