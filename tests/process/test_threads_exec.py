"""A module that starts threads while it is imported is reported; its workers are started by exec, and work as well.

Forked with such threads a child may inherit a lock that nobody will ever release.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_support import PROVIDERS, Arbd, Hub, daemon_of, responses

from arbd.supervisor.describe import describe
from arbd.testing import RunningProvider

THREADED = PROVIDERS / "threads_at_import.py"


@pytest.fixture(scope="module")
def threaded() -> Iterator[RunningProvider]:
    with daemon_of(THREADED, workers=2, execution_timeout=2) as daemon:
        yield daemon


def test_the_threads_are_reported() -> None:
    assert len(describe(str(THREADED), [], os.environ).threads) == 1


def test_such_workers_run_their_own_import_and_its_threads(threaded: RunningProvider) -> None:
    [response] = responses(threaded, [threaded.submit("inside")])
    inside = response.data
    assert inside["comm"].startswith("arbd:worker-")
    assert inside["threads"] >= 2
    assert inside["leader"] is True
    assert "grpc" not in inside["modules"]


def test_an_action_is_the_same_in_every_process(threaded: RunningProvider) -> None:
    """Its number comes from the zygote; this module registers its actions in another order each time."""
    names = [f"chance_{n}" for n in range(50)] * 2
    found = [response.data for response in responses(threaded, [threaded.submit(name) for name in names])]
    assert [data["name"] for data in found] == names
    assert {data["pid"] for data in found} == set(threaded.worker_pids)


def test_deaths_and_deadlines_are_the_same(threaded: RunningProvider) -> None:
    handles = [threaded.submit("die", {"how": "SIGKILL"}), threaded.submit("stuck_in_c"), threaded.submit("echo", {})]
    lost, stuck, echoed = responses(threaded, handles)
    assert lost.data == {"error_code": "WORKER_LOST", "signal": "SIGKILL"}
    assert stuck.data == {"error_code": "TIMEOUT", "timeout": 2.0}
    assert echoed.status == "success"


def test_a_file_in_the_current_directory_shadows_nothing_of_arbd(tmp_path: Path) -> None:
    """`msgspec.py` and `logging.py` beside the provider are the author's business."""
    for name in ("msgspec", "logging", "arbd"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong module was imported')\n")
    with Hub() as hub:
        flags = ["--hub", hub.address, "--name", "prov", "--workers", "1", "--no-pin", "--log-format", "json"]
        with Arbd(["-P", "-m", "arbd", "run", str(THREADED), "--log-level", "debug", *flags], tmp_path) as arbd:
            arbd.wait_serving(1)
            [line] = arbd.events("module_starts_threads")
            assert "exec" in line["hint"]
            [task_id] = hub.submit("echo", {"n": 1})
            assert hub.results()[task_id].status == "success"
            arbd.signal(signal.SIGTERM)
            assert arbd.exit_code() == 0


def test_it_has_its_cpu_before_it_imports_the_module(tmp_path: Path) -> None:
    """Libraries count the CPUs when they are imported, and start a thread for each: pinned afterwards, all those
    threads spin on one CPU."""
    target = tmp_path / "counting.py"
    target.write_text(
        """
import os, threading
from arbd import Provider

at_import = sorted(os.sched_getaffinity(0))
threading.Thread(target=threading.Event().wait, daemon=True).start()
provider = Provider(name="p")

@provider.actions.register(name="cpus")
def cpus(): return {"at_import": at_import, "now": sorted(os.sched_getaffinity(0))}
"""
    )
    with daemon_of(target, workers=2, pin=True) as daemon:
        for response in responses(daemon, [daemon.submit("cpus") for _ in range(10)]):
            assert len(response.data["at_import"]) == 1
            assert response.data["now"] == response.data["at_import"]
