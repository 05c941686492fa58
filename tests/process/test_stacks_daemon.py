"""Where every process of a daemon is can be seen, whatever it does; asking harms none; and what was stopped or killed
leaves where it was in the log, seldom."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from daemon_support import PROVIDERS, Arbd, Hub, at_best, daemon_of, eventually, on_loop

from arbd.control import client as control
from arbd.control.protocol import GetOperation, GetStacks, GetStatus, OperationReply, StacksReply, StatusReply
from arbd.control.reports import ProcessStacks
from arbd.errors import ControlError
from arbd.host.stack_signal import STACKS_SIGNAL
from arbd.testing import RunningProvider

STUCK = PROVIDERS / "stuck.py"
NAMES = {
    "coroutine": "in waits_for_ever",
    "sleep": "in hang",
    "loop": "in loop",
    "holds_gil": "in holds_gil",
    "in_a_thread": "in hang",
    "own_faulthandler": "in hang",
}


class Seen:
    """A daemon whose only worker hangs in an action, and what it says of it."""

    def __init__(self, here: Path, target: Path = STUCK, **settings: object) -> None:
        self.socket = here / "c.sock"
        self.started = here / "started"
        self.context = daemon_of(target, **{"control_socket": str(self.socket), "execution_timeout": 60.0, **settings})

    def __enter__(self) -> Seen:
        self.daemon: RunningProvider = self.context.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        for pid in self.daemon.worker_pids:
            os.kill(pid, signal.SIGKILL)  # what hangs is not waited for
        self.context.__exit__(*exc)  # type: ignore[arg-type] # the same three

    def hang(self, action: str) -> int:
        """Have the worker hang in this action; its process id."""
        self.daemon.submit(action, {"started": str(self.started), "secret": "of-the-payload"})
        return int(eventually(lambda: self.started.exists() and self.started.read_text()))

    def stacks(self, worker: int | None = None) -> list[ProcessStacks]:
        return control.ask(self.socket, GetStacks(worker=worker), StacksReply).stacks

    def worker(self) -> ProcessStacks:
        [found] = self.stacks(0)
        return found

    def until(self, check: Callable[[ProcessStacks], bool]) -> ProcessStacks:
        """The worker's stacks, once they are as they should be: a busy machine may be late."""
        return eventually(lambda: check(found := self.worker()) and found)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize("action", sorted(NAMES))
def test_a_worker_that_hangs_says_where(here: Path, action: str) -> None:
    with Seen(here) as seen:
        pid = seen.hang(action)
        # Once: a coroutine that takes its first step is told twice, on its thread's stack and among the coroutines.
        found = seen.until(lambda it: it.trouble is None and it.text.count(NAMES[action]) == 1)
        assert (found.role, found.pid, found.worker) == ("worker", pid, 0)
        assert found.task is not None
        assert found.task.action == action
        assert "of-the-payload" not in found.text
        assert seen.worker().text.count(NAMES[action]) == 1, "an earlier answer is not shown again"


def test_every_process_is_told(here: Path) -> None:
    with Seen(here, workers=2) as seen:
        pid = seen.hang("sleep")
        found = seen.stacks()
        assert [each.role for each in found] == ["supervisor", "zygote", "worker", "worker"]
        assert [each.trouble for each in found] == [None] * 4
        assert "in serve" in found[1].text
        assert "control client" in found[0].text
        [busy] = [each for each in found if each.task]
        assert busy.pid == pid
        [idle] = [each for each in found[2:] if not each.task]
        assert "in _sleep" in idle.text
        with pytest.raises(ControlError, match="no worker 7"):
            seen.stacks(7)


def test_the_answer_comes_at_once(here: Path) -> None:
    with Seen(here, workers=4) as seen:
        for _ in range(4):
            seen.daemon.submit("sleep", {"started": str(seen.started)})
        eventually(lambda: sum("in hang" in each.text for each in seen.stacks()) == 4)

        def quickly() -> None:
            before = time.monotonic()
            seen.stacks()
            assert time.monotonic() - before < 0.1

        at_best(quickly, 10)


def test_a_worker_that_is_stopped_is_told_to_be(here: Path) -> None:
    with Seen(here) as seen:
        pid = seen.hang("sleep")
        os.kill(pid, signal.SIGSTOP)
        try:
            seen.until(lambda it: "stopped" in (it.trouble or ""))
        finally:
            os.kill(pid, signal.SIGCONT)
        seen.until(lambda it: it.trouble is None and "in hang" in it.text)


@pytest.mark.parametrize(
    ("action", "trouble"),
    [
        ("default_handler", "does not handle"),
        ("unregistered", "has not answered"),
        ("own_handler", "has not answered"),
        ("masked", "blocks"),
        ("other_file", "has not answered"),
        ("closed", "has not answered"),
    ],
)
def test_code_that_takes_the_signal_away_is_told_and_lives(here: Path, action: str, trouble: str) -> None:
    with Seen(here) as seen:
        pid = seen.hang(action)
        found = [seen.worker() for _ in range(3)]
        assert all(trouble in (each.trouble or "") for each in found), found
        assert "nanosleep" in found[0].text or "system call" in found[0].text
        assert seen.daemon.worker_pids == [pid]


@pytest.mark.parametrize("how", ["handler", "unregister", "file"])
def test_what_an_action_has_taken_is_back_for_the_next(here: Path, how: str) -> None:
    with Seen(here) as seen:
        pid = seen.daemon.run("takes_away", {"how": how}).data
        assert seen.hang("sleep") == pid, "the worker is not to be replaced for it"
        seen.until(lambda it: "in hang" in it.text)


def test_a_child_that_an_action_forks_has_the_default(here: Path) -> None:
    with Seen(here) as seen:
        assert seen.daemon.run("forks").data == -STACKS_SIGNAL


def test_a_worker_that_was_started_by_exec_answers_too(here: Path) -> None:
    target = here / "threaded.py"
    start = "\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    target.write_text(STUCK.read_text() + start)
    with Seen(here, target) as seen:
        seen.hang("holds_gil")
        found = seen.until(lambda it: it.trouble is None)
        assert "in holds_gil" in found.text
        assert "arbd/worker/__main__.py" in found.text


def test_an_import_that_hangs_is_seen(here: Path) -> None:
    target = here / "target.py"
    target.write_text(STUCK.read_text())
    with Seen(here, target) as seen:
        target.write_text("import time\n\ndef stuck_import():\n    time.sleep(60)\n\nstuck_import()\n")
        on_loop(seen.daemon, seen.daemon.daemon.request_reload)
        eventually(lambda: any("in stuck_import" in each.text for each in seen.stacks() if each.role == "zygote"))


def test_asked_by_many_at_once_all_are_answered(here: Path) -> None:
    with Seen(here) as seen:
        seen.hang("sleep")
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: seen.worker(), range(40)))
        assert all("in hang" in each.text for each in found)


# -- native ----------------------------------------------------------------------------------------------------------


def test_native_stacks_are_an_operation(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = here / "bin" / "py-spy"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport os, sys\nprint(sys.argv[1:], sorted(os.environ))\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("arbd.supervisor.native_stacks.find", lambda: str(program))
    monkeypatch.setenv("PROVIDER_AUTH_TOKEN", "t0p-s3cret")
    with Seen(here) as seen:
        pid = seen.hang("sleep")
        operation = control.ask(seen.socket, GetStacks(native=True, worker=0), OperationReply).operation
        ended = eventually(
            lambda: (
                (it := control.ask(seen.socket, GetOperation(id=operation.id), OperationReply).operation).state
                != "running"
                and it
            )
        )
        assert (ended.state, ended.done, ended.total) == ("done", 1, 1)
        [found] = ended.data
        assert str(["dump", "--native", "--pid", str(pid)]) in found["text"]
        assert "TOKEN" not in found["text"]


# -- in the log ------------------------------------------------------------------------------------------------------


def test_usr1_writes_status_and_stacks_and_usr2_is_ignored(here: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, here, target=STUCK) as daemon:
        daemon.wait_serving()
        hub.submit("sleep", {"started": str(here / "started")})
        eventually((here / "started").exists)
        daemon.signal(signal.SIGUSR1)
        stacks = daemon.wait_event("stacks", 4)
        [status] = daemon.events("status")
        assert status["state"] == "serving"
        assert [each["process"] for each in stacks] == ["supervisor", "zygote", "worker", "worker"]
        assert sum("in hang" in each["stack"] for each in stacks) == 1
        daemon.signal(signal.SIGUSR2)
        [ignored] = daemon.wait_event("signal_ignored")
        assert ignored["signal"] == "SIGUSR2"
        hub.submit("pid")
        eventually(lambda: hub.done() == 1)


def test_usr1_works_while_the_provider_is_still_loading(here: Path) -> None:
    target = here / "target.py"
    target.write_text("import time\n\ndef stuck_import():\n    time.sleep(60)\n\nstuck_import()\n")
    with Arbd.run("127.0.0.1:1", here, target=target) as daemon:

        def asked() -> bool:
            daemon.signal(signal.SIGUSR1)
            return any("in stuck_import" in each["stack"] for each in daemon.events("stacks"))

        eventually(lambda: "arbd:zygote" in daemon.family())
        eventually(asked)
        assert daemon.events("status")[0]["state"] == "starting"


def test_what_was_stopped_or_killed_leaves_where_it_was(here: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, here, target=STUCK, env={"ARBD_KILL_GRACE": "0.2"}) as daemon:
        daemon.wait_serving()
        [swallowed] = hub.submit("swallows", {"secret": "of-the-payload"})
        [late] = hub.submit("late", {})
        [coroutine] = hub.submit("late_coroutine", {})
        hub.results()
        told = {each["task_id"]: each for each in daemon.wait_event("task_stack", 3)}
        assert [told[each]["struck"] for each in (swallowed, late, coroutine)] == ["killed", "stopped", "stopped"]
        assert "in inner_of_swallows" in told[swallowed]["stack"]
        assert told[late]["stack"].strip().endswith("in late")
        assert "in waits_for_ever" in told[coroutine]["stack"]
        assert "of-the-payload" not in daemon.log.read_text()
        assert {each["level"] for each in told.values()} == {"warning"}


def test_many_of_them_are_one_line(here: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, here, target=STUCK) as daemon:
        daemon.wait_serving()
        hub.submit("late", {}, count=30)
        hub.results()
        assert len(daemon.events("task_stack")) <= 2  # one; and one more where that took longer than ten seconds


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_them(here: Path) -> None:
    with Seen(here) as seen:
        seen.hang("sleep")
        with Arbd(["-m", "arbd", "stacks", str(seen.socket)], here) as command:
            assert command.exit_code() == 0
        printed = command.out.read_text()
        assert "== worker 0 (pid" in printed
        assert "in hang" in printed
        assert control.ask(seen.socket, GetStatus(), StatusReply).report.state == "serving"
        with Arbd(["-m", "arbd", "stacks", str(seen.socket), "--worker", "9"], here) as command:
            assert command.exit_code() == 1
        assert "no worker 9" in command.log.read_text()
