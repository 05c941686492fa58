"""Signal handlers that a module sets at import stay the author's; they run at any time, and what they raise between
tasks ends nothing. The same guard stands in workers that are started by exec."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from daemon_support import PROVIDERS, daemon_of, eventually, responses

from arbd.testing import RunningProvider

MODULE = """
import os, signal, time
from arbd import Provider

provider = Provider(name="signals")
PATH = {path!r}

def on_signal(signum, frame):
    with open(PATH, "a") as file:
        file.write(f"{{signum}}\\n")
    raise RuntimeError("raised by the author's handler")

signal.signal(signal.SIGUSR1, on_signal)
signal.signal(signal.SIGTERM, on_signal)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
signal.signal(signal.SIGALRM, lambda *_: None)

@provider.actions.register()
def pid():
    return os.getpid()

@provider.actions.register()
def signal_myself():
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(1)
    except RuntimeError as error:
        return str(error)

@provider.actions.register()
def handlers():
    return [signal.getsignal(signum) is on_signal for signum in (signal.SIGUSR1, signal.SIGTERM)]

@provider.actions.register()
def changes_the_handler():
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
"""


def answer(daemon: RunningProvider, action: str, payload: object = None) -> Any:
    [response] = responses(daemon, [daemon.submit(action, payload)])
    assert response.status == "success", response
    return response.data


def test_the_handlers_of_a_module(tmp_path: Path) -> None:
    target, signals = tmp_path / "signals_of_a_module.py", tmp_path / "signals"
    target.write_text(MODULE.format(path=str(signals)))
    with daemon_of(target) as daemon:
        pid = answer(daemon, "pid")
        os.kill(pid, signal.SIGUSR1)  # the worker sleeps
        eventually(lambda: signals.exists() and signals.read_text() == f"{int(signal.SIGUSR1)}\n")
        os.kill(pid, signal.SIGTERM)  # that one is arbd's
        assert answer(daemon, "pid") == pid
        assert answer(daemon, "signal_myself") == "raised by the author's handler"
        assert answer(daemon, "handlers") == [True, False]
        answer(daemon, "changes_the_handler")
        assert answer(daemon, "handlers") == [True, False]
        assert answer(daemon, "pid") == pid


@pytest.fixture
def started_by_exec(tmp_path: Path) -> Path:
    """The module of the hostile actions, which also starts a thread while it is imported."""
    target = tmp_path / "guarded_by_exec.py"
    target.write_text(
        "import sys, threading, time\n"
        f"sys.path.insert(0, {str(PROVIDERS)!r})\n"
        "threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"
        "from guarded import provider\n"
    )
    return target


def test_a_worker_that_was_started_by_exec(started_by_exec: Path, tmp_path: Path) -> None:
    with daemon_of(started_by_exec) as daemon:
        before = answer(daemon, "state")
        pid = answer(daemon, "change", {"how": "chdir"})["pid"]
        for how in ("umask", "environment", "alarm_taken_at_import", "mask", "recursion", "policy", "variable"):
            assert answer(daemon, "change", {"how": how})["pid"] == pid
            assert answer(daemon, "state") == before
        assert answer(daemon, "fork", {"how": "returns"}) == "parent"
        assert answer(daemon, "async_fork", {"how": "and waits"}) == "parent"
        path = tmp_path / "runs"
        responses(daemon, [daemon.submit("run", {"path": str(path)}) for _ in range(10)])
        assert path.read_text() == f"{pid}\n" * 10
        assert responses(daemon, [daemon.submit("without_the_alarm")])[0].error_code == "TIMEOUT"
        assert answer(daemon, "nap", {"seconds": 0.001})["pid"] != pid
