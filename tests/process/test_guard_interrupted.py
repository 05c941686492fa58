"""What an interruption cuts in half reaches no other task: the worker answers, and is replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_support import PROVIDERS, daemon_of, responses

from arbd.testing import Response, RunningProvider


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "guarded.py", execution_timeout=10, kill_grace=2) as daemon:
        yield daemon


def run(daemon: RunningProvider, action: str, payload: object = None) -> Response:
    [response] = responses(daemon, [daemon.submit(action, payload)])
    return response


def pid_of(daemon: RunningProvider) -> Any:
    return run(daemon, "nap", {"seconds": 0.001}).data["pid"]


def test_nobody_gets_the_answer_to_a_question_that_was_cut_off(daemon: RunningProvider) -> None:
    assert run(daemon, "ask", {"what": "first"}).data == "answer to first"
    assert run(daemon, "ask", {"what": "slow"}).error_code == "TIMEOUT"
    for n in range(5):
        assert run(daemon, "ask", {"what": f"next {n}"}).data == f"answer to next {n}"


def test_an_import_is_never_cut_off(daemon: RunningProvider, tmp_path: Path) -> None:
    (tmp_path / "guarded_slow_module.py").write_text("import time\ntime.sleep(0.3)\nWHOLE = 'whole'\n")
    assert run(daemon, "import_slowly", {"path": str(tmp_path)}).error_code == "TIMEOUT"
    pid_of(daemon)


def test_one_that_swallows_the_deadline_was_interrupted_all_the_same(daemon: RunningProvider) -> None:
    pid = pid_of(daemon)
    assert run(daemon, "swallow").error_code == "TIMEOUT"
    assert pid_of(daemon) != pid


def test_one_that_is_late_without_having_been_interrupted_keeps_its_worker(tmp_path: Path) -> None:
    """Nothing was raised inside it: it is whole. Its deadline passes while it has every signal blocked."""
    target = tmp_path / "late_without.py"
    target.write_text(
        "import os, signal, time\nfrom arbd import Provider\n"
        "provider = Provider(name='late')\n"
        "@provider.actions.register(timeout=0.05)\ndef late():\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n    time.sleep(0.1)\n"
        "@provider.actions.register()\ndef pid():\n    return os.getpid()\n"
    )
    with daemon_of(target, kill_grace=5) as daemon:
        pid = run(daemon, "pid").data
        assert run(daemon, "late").error_code == "TIMEOUT"
        assert run(daemon, "pid").data == pid


def test_tasks_behind_it_are_run_once_by_its_successor(daemon: RunningProvider, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    handles = []
    for _ in range(5):
        handles.append(daemon.submit("swallow"))
        handles += [daemon.submit("run", {"path": str(path)}) for _ in range(10)]
    found = responses(daemon, handles)
    assert [each.status for each in found] == (["error"] + ["success"] * 10) * 5
    assert len(path.read_text().splitlines()) == 50
