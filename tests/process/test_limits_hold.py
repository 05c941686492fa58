"""``on_limit="hold"``: what could not start stays with the hub for somebody else; nothing is turned away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from daemon_support import PROVIDERS, daemon_of, eventually, kinds, responses

from arbd.testing import RunningProvider


@pytest.fixture
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "held.py", workers=4) as daemon:
        yield daemon


def test_the_daemon_takes_what_can_start_and_leaves_the_rest(daemon: RunningProvider) -> None:
    handles = [daemon.submit("quick") for _ in range(20)]
    eventually(lambda: sum("result" in kinds(daemon, handle) for handle in handles) >= 5)
    assert sum("handed_out" in kinds(daemon, handle) for handle in handles) == 5
    found = responses(daemon, handles)
    assert [response.status for response in found] == ["success"] * 20
    times = sorted(response.data["at"] for response in found)
    assert 1.5 <= times[-1] - times[0] < 4


def test_tasks_that_run_long_do_not_count_as_waiting(daemon: RunningProvider) -> None:
    found = responses(daemon, [daemon.submit("slow") for _ in range(8)])
    times = sorted(response.data["at"] for response in found)
    assert times[3] - times[0] < 0.6  # four at a time
    assert times[-1] - times[0] < 1.2  # in two rounds
