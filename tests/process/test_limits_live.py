"""A limit that is set inside one worker holds for all workers, from their next task on, and for those to come."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from daemon_support import PROVIDERS, daemon_of, eventually, on_loop, responses

from arbd.testing import RunningProvider


@pytest.fixture
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "limited.py", workers=3) as daemon:
        yield daemon


def successes(daemon: RunningProvider, action: str, times: int) -> int:
    found = responses(daemon, [daemon.submit(action, {}) for _ in range(times)])
    return sum(response.status == "success" for response in found)


def change(daemon: RunningProvider, **payload: object) -> None:
    assert daemon.run("change", payload).status == "success"


def test_an_action_gets_another_limit_in_all_workers(daemon: RunningProvider) -> None:
    assert successes(daemon, "free", 9) == 9
    change(daemon, how="window", action="free", calls=5)
    assert successes(daemon, "free", 12) == 5
    change(daemon, how="window", action="free", calls=7)
    assert successes(daemon, "free", 12) == 7
    change(daemon, how="action", action="free")
    # A start that was granted under the limit before counts until its worker has given it back.
    assert eventually(lambda: successes(daemon, "free", 9)) == 1
    assert successes(daemon, "free", 9) == 0
    change(daemon, how="off", action="free")
    assert successes(daemon, "free", 9) == 9


def test_the_default_is_for_actions_without_a_limit_of_their_own(daemon: RunningProvider) -> None:
    change(daemon, how="default")
    assert successes(daemon, "ours", 2) + successes(daemon, "ours_too", 2) == 1
    assert successes(daemon, "free", 5) == 5


def test_workers_that_come_later_know_it(daemon: RunningProvider) -> None:
    change(daemon, how="window", action="free", calls=4)
    before = set(daemon.worker_pids)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: on_loop(daemon, lambda: len(set(daemon.worker_pids) - before - {0}) == 3))
    assert successes(daemon, "free", 9) == 4


def test_what_cannot_be_set_is_refused_and_changes_nothing(daemon: RunningProvider) -> None:
    own = daemon.run("change", {"how": "own", "action": "free"})
    assert (own.status, own.data["error_type"]) == ("error", "RegistrationError")
    assert own.message == (
        "Mine cannot be passed to the other workers; while the daemon runs only a built-in monitor can be set. "
        "Set this one where the provider is made."
    )
    unknown = daemon.run("change", {"how": "action", "action": "nothing"})
    assert (unknown.status, unknown.data["error_type"]) == ("error", "ActionNotFoundError")
    assert successes(daemon, "free", 6) == 6
