"""A child that an action forks, in whatever way, runs no task, answers none, and ends as a child of Python's does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from daemon_support import PROVIDERS, daemon_of, eventually, is_alive, responses

from arbd.testing import RunningProvider


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "guarded.py", log_level="critical", execution_timeout=20) as daemon:
        yield daemon


def answer(daemon: RunningProvider, action: str, payload: object = None) -> Any:
    [response] = responses(daemon, [daemon.submit(action, payload)])
    assert response.status == "success", response
    return response.data


def runs_of_the_innocent(daemon: RunningProvider, directory: Path, count: int = 20) -> list[int]:
    """The processes that ran so many tasks, one for each run."""
    path = directory / "runs"
    path.unlink(missing_ok=True)
    responses(daemon, [daemon.submit("run", {"path": str(path)}) for _ in range(count)])
    return [int(line) for line in path.read_text().splitlines()]


def check(daemon: RunningProvider, directory: Path) -> None:
    """Each task runs once, in the one worker, and no process is left."""
    runs = runs_of_the_innocent(daemon, directory)
    assert len(runs) == 20
    assert set(runs) == set(daemon.worker_pids)
    eventually(lambda: not children_of(daemon))


def children_of(daemon: RunningProvider) -> list[psutil.Process]:
    """What runs below the worker."""
    [pid] = daemon.worker_pids
    return [each for each in psutil.Process(pid).children(recursive=True) if is_alive(each.pid)]


@pytest.mark.parametrize("how", ["returns", "raises", "exits", "pty", "c", "thread", "pool"])
def test_a_fork_that_comes_back(daemon: RunningProvider, tmp_path: Path, how: str) -> None:
    for _ in range(3):
        assert answer(daemon, "fork", {"how": how}) == "parent"
        check(daemon, tmp_path)


def test_forks_of_forks(daemon: RunningProvider, tmp_path: Path) -> None:
    assert answer(daemon, "fork", {"how": "deep"}) == "any of eight"
    check(daemon, tmp_path)


@pytest.mark.parametrize("how", ["returns", "and waits", "in a thread"])
def test_a_fork_of_an_asynchronous_action(daemon: RunningProvider, tmp_path: Path, how: str) -> None:
    for _ in range(3):
        assert answer(daemon, "async_fork", {"how": how}) == "parent"
        check(daemon, tmp_path)
        assert answer(daemon, "in_thread") == "done"


def test_a_fork_in_a_monitor(daemon: RunningProvider, tmp_path: Path) -> None:
    assert answer(daemon, "fork_in_monitor") == "done"
    check(daemon, tmp_path)


def test_a_fork_in_a_call_that_a_monitor_makes(daemon: RunningProvider, tmp_path: Path) -> None:
    path = tmp_path / "counted"
    assert answer(daemon, "fork_in_request", {"path": str(path)}) == "done"
    check(daemon, tmp_path)
    assert path.read_text() == "counted\n"


@pytest.mark.parametrize(("how", "code"), [("returns", 0), ("raises", 1), ("exits", 7)])
def test_its_exit_code_is_that_of_a_program(daemon: RunningProvider, how: str, code: int) -> None:
    assert answer(daemon, "exit_code", {"how": how}) == code


@pytest.mark.parametrize("how", ["Process", "in a thread", "C", "subprocess"])
def test_what_an_action_starts_can_be_terminated(daemon: RunningProvider, how: str) -> None:
    assert answer(daemon, "terminate", {"how": how}) == -15


def test_a_child_has_the_handlers_of_python(daemon: RunningProvider) -> None:
    terminate, alarm, interrupt = answer(daemon, "terminate", {"how": "handlers"})
    assert (terminate, alarm) == ("0", "0") or "SIG_DFL" in terminate + alarm
    assert "default_int_handler" in interrupt


@pytest.mark.parametrize("how", ["map", "imap left early"])
def test_a_pool_of_processes_ends(daemon: RunningProvider, tmp_path: Path, how: str) -> None:
    """It terminates its processes, and waits for them."""
    for _ in range(4):
        assert answer(daemon, "terminate", {"how": how}) in ([0, 1, 2, 3], *range(100))
    check(daemon, tmp_path)


def test_a_module_that_forks_is_loaded_once(tmp_path: Path) -> None:
    """Its child is no second zygote."""
    target = tmp_path / "forks_at_import.py"
    target.write_text(
        "import os\nfrom arbd import Provider\nos.fork()\nprovider = Provider(name='forks')\n"
        "@provider.actions.register()\ndef ping():\n    return 'pong'\n"
    )
    with daemon_of(target) as daemon:
        assert answer(daemon, "ping") == "pong"
