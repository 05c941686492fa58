"""A monitor of an author's own is each worker's own, unless it says ``shared``: then one process is asked by all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from daemon_support import PROVIDERS, daemon_of, eventually, responses

from arbd.errors import ConfigError
from arbd.testing import RunningProvider


@pytest.fixture
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "one_place.py", workers=3) as daemon:
        yield daemon


def counts(daemon: RunningProvider, action: str, times: int) -> dict[str, int]:
    found = [response.status for response in responses(daemon, [daemon.submit(action, {}) for _ in range(times)])]
    return {status: found.count(status) for status in set(found)}


def test_a_shared_monitor_counts_for_all_workers(daemon: RunningProvider) -> None:
    assert counts(daemon, "shared", 30) == {"success": 5, "limit": 25}
    refused = daemon.run("shared")
    assert (refused.data["made"], refused.data["wait_time"]) == (5, 3.0)
    assert refused.data["pid"] not in daemon.worker_pids
    assert psutil.Process(refused.data["pid"]).name() == "arbd:limits"


def test_any_other_counts_for_its_worker(daemon: RunningProvider) -> None:
    found = responses(daemon, [daemon.submit("each", {}) for _ in range(40)])
    by_pid = Counter(response.data["pid"] for response in found if response.status == "success")
    assert len(by_pid) > 1
    assert max(by_pid.values()) == 5


def test_it_is_shared_by_hand_too(daemon: RunningProvider) -> None:
    found = responses(daemon, [daemon.submit("hands", {}) for _ in range(3)])
    found += responses(daemon, [daemon.submit("hands", {}) for _ in range(1)])
    assert [response.data for response in found] == [{"made": True}] * 4
    assert daemon.run("hands").data["made"] is False


def test_one_that_fails_costs_the_task_and_one_that_dies_is_started_again(daemon: RunningProvider) -> None:
    found = [daemon.run("moody") for _ in range(4)]
    assert [response.status for response in found] == ["success", "success", "error", "success"]
    assert found[2].message == "the rate limit could not be checked: Moody: ValueError: third time unlucky"
    again = daemon.run("moody")  # its process dies under this one, and a new one answers
    assert again.status == "success"
    assert eventually(lambda: daemon.run("moody").status == "success")


def test_a_module_that_starts_threads_cannot_have_one(tmp_path: Path) -> None:
    text = (PROVIDERS / "one_place.py").read_text()
    module = tmp_path / "threaded.py"
    starts_one = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    module.write_text(f"{text}\n{starts_one}")
    with pytest.raises(ConfigError, match="Shared says shared = True"), daemon_of(module):
        pass
