"""The zygote may fail, die, or be unable to fork: the daemon recovers, or stops with exit code 70 and says why."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from daemon_support import (
    Arbd,
    Gate,
    Hub,
    daemon_of,
    eventually,
    frozen,
    is_alive,
    learn,
    responses,
    serving,
    tasks_done,
    wait_outstanding,
)

from arbd.errors import EXIT_CONFIG, EXIT_ZYGOTE, ArbdError, ConfigError, ZygoteError
from arbd.testing import RunningProvider

HEAD = "import os, sys, time\nfrom arbd import Provider\nprovider = Provider(name='p')\n"
ECHO = "\n@provider.actions.register(name='echo')\ndef echo(payload): return {'pid': os.getpid(), 'payload': payload}\n"


def zygote_of(daemon: RunningProvider) -> psutil.Process:
    process = psutil.Process(serving(daemon).pid).parent()
    assert process is not None
    assert process.name() == "arbd:zygote"
    return process


def test_a_zygote_that_is_killed_is_replaced_and_costs_running_tasks_only(deep_rings: None, tmp_path: Path) -> None:
    with daemon_of(workers=2) as daemon:
        learn(daemon, tmp_path)
        gates = [Gate(tmp_path, "one"), Gate(tmp_path, "two")]
        running = [daemon.submit("hold", gate.payload) for gate in gates]
        pids = [gate.pid for gate in gates]
        waiting = [daemon.submit("echo", {"n": n}) for n in range(40)]
        zygote = zygote_of(daemon)
        zygote.kill()
        assert [response.data for response in responses(daemon, running)] == [
            {"error_code": "WORKER_LOST", "signal": "SIGKILL"}
        ] * 2
        echoed = responses(daemon, waiting)
        assert [response.data["payload"] for response in echoed] == [{"n": n} for n in range(40)]
        assert {response.data["pid"] for response in echoed}.isdisjoint(pids)
        assert not [pid for pid in [zygote.pid, *pids] if is_alive(pid)]
        assert zygote_of(daemon).pid != zygote.pid


def test_results_in_the_rings_of_a_zygote_that_died_count(deep_rings: None, tmp_path: Path) -> None:
    with daemon_of() as daemon:
        learn(daemon, tmp_path)
        gate = Gate(tmp_path)
        handles = [daemon.submit("hold", gate.payload)]
        handles += [daemon.submit("echo", {"n": n}) for n in range(30)]
        worker = serving(daemon)
        assert gate.pid == worker.pid
        wait_outstanding(daemon, worker, 31)
        with frozen(daemon):
            done_before = tasks_done(worker)
            gate.open()
            eventually(lambda: tasks_done(worker) == done_before + 31 and worker.cell.worker_sleeps())
            zygote_of_worker = psutil.Process(worker.pid).ppid()
            os.kill(zygote_of_worker, signal.SIGKILL)
            eventually(lambda: not is_alive(worker.pid))
        assert {response.data["pid"] for response in responses(daemon, handles)} == {worker.pid}


def test_what_actions_started_does_not_survive_the_zygote(tmp_path: Path) -> None:
    with daemon_of(execution_timeout=30) as daemon:
        child = tmp_path / "child"
        handle = daemon.submit("parent", {"path": str(child), "then": "wait"})
        eventually(child.exists)
        zygote_of(daemon).kill()
        assert daemon.response(handle).error_code == "WORKER_LOST"
        eventually(lambda: not is_alive(int(child.read_text())))


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        (HEAD + "raise RuntimeError('broken at import')\n", EXIT_ZYGOTE, "broken at import"),
        (HEAD + "sys.exit(4)\n", EXIT_ZYGOTE, "SystemExit"),
        (HEAD + "os._exit(4)\n", EXIT_ZYGOTE, "status 4"),
        (HEAD + "os.kill(os.getpid(), 9)\n", EXIT_ZYGOTE, "status -9"),
        ("x = 1\n", EXIT_CONFIG, "holds no provider"),
        (HEAD.replace("'p'", r"'caf\udce9'"), EXIT_CONFIG, r"'caf\udce9' has half of a character in it"),
        (HEAD + "@provider.actions.register(name='x\\udc80')\ndef x(): ...\n", EXIT_CONFIG, "half of a character"),
        (HEAD + "@provider.actions.register('x', description='\\udc80')\ndef x(): ...\n", EXIT_CONFIG, "a surrogate"),
    ],
)
def test_code_that_does_not_load_is_told_and_ends_the_daemon(tmp_path: Path, text: str, code: int, told: str) -> None:
    (tmp_path / "broken.py").write_text(text)
    with Arbd.run("127.0.0.1:1", tmp_path, target=tmp_path / "broken.py") as arbd:
        assert arbd.exit_code() == code
        assert told in arbd.log.read_text()


def test_workers_that_cannot_boot_end_the_daemon_with_code_70(tmp_path: Path) -> None:
    target = tmp_path / "unbootable.py"
    target.write_text(HEAD + ECHO + "os.register_at_fork(after_in_child=lambda: os._exit(9))\n")
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=target) as arbd:
        assert arbd.exit_code() == EXIT_ZYGOTE
        failures = arbd.events("worker_cannot_boot")
        assert len(failures) >= 5
        assert {line["status"] for line in failures} == {9}
        assert [line["exit_code"] for line in arbd.events("workers_cannot_boot")] == [EXIT_ZYGOTE]


def test_a_test_daemon_whose_workers_cannot_boot_says_so_to_the_author(tmp_path: Path) -> None:
    target = tmp_path / "unbootable.py"
    target.write_text(HEAD + ECHO + "os.register_at_fork(after_in_child=lambda: os._exit(9))\n")
    with pytest.raises(ArbdError, match="70"), daemon_of(target):
        raise AssertionError("it cannot have started")


def test_errors_of_loading_reach_the_author_of_a_test(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('broken at import')\n")
    with pytest.raises(ZygoteError, match="broken at import"), daemon_of(tmp_path / "broken.py"):
        raise AssertionError("it cannot have started")
    with pytest.raises(ConfigError, match="no file"), daemon_of(tmp_path / "missing.py"):
        raise AssertionError("it cannot have started")


def test_a_fork_that_fails_for_once_is_tried_again(tmp_path: Path) -> None:
    """No memory or no process number for a moment: the workers that are there go on, and the missing one comes."""
    target = tmp_path / "tight.py"
    target.write_text(
        HEAD
        + ECHO
        + """
fork, calls = os.fork, []
def tight():
    calls.append(1)
    if len(calls) == 2:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()
os.fork = tight
"""
    )
    with daemon_of(target, workers=2) as daemon:
        assert len(set(daemon.worker_pids)) == 2
        assert daemon.run("echo", {"n": 1}).data["payload"] == {"n": 1}


def test_nobody_who_reads_what_actions_print_is_no_harm(tmp_path: Path) -> None:
    """A worker that left used to fail while it flushed, return into the zygote's loop, and kill its older brothers."""
    gates = [Gate(tmp_path, "one"), Gate(tmp_path, "two")]
    read_end, write_end = os.pipe()
    os.close(read_end)
    buffered = {"PYTHONUNBUFFERED": ""}
    with Hub() as hub, Arbd.run(hub.address, tmp_path, env=buffered, stdout=write_end) as arbd:
        os.close(write_end)
        arbd.wait_serving()
        for gate in gates:
            hub.submit("hold", gate.payload)
        older, younger = sorted(gates, key=lambda gate: gate.pid)
        younger.open()
        hub.submit("print", {"text": "hello"})
        eventually(lambda: hub.done() == 2)
        arbd.signal(signal.SIGHUP)
        arbd.wait_event("reloaded")
        eventually(lambda: not is_alive(younger.pid))
        older.open()
        assert {result.status for result in hub.results().values()} == {"success"}
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


def test_a_zygote_whose_descriptors_were_closed_is_given_up(tmp_path: Path) -> None:
    """Code that makes itself a daemon closes every descriptor, the one to the supervisor among them."""
    target = tmp_path / "closer.py"
    target.write_text(HEAD + "os.closerange(3, 256)\ntime.sleep(600)\n")
    begin = time.monotonic()
    with Arbd.run("127.0.0.1:1", tmp_path, target=target) as arbd:
        assert arbd.exit_code() == EXIT_ZYGOTE
    assert time.monotonic() - begin < 15
