"""``arbd status --check`` and ``--watch`` of a real daemon: what the exit code says is so, also when nobody answers."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from daemon_support import Arbd, at_best, daemon_of, eventually

from arbd.control import client, protocol
from arbd.control.protocol import Done, OperationReply
from arbd.hub.process import HubProcess

START_S = 0.25  # with Python's own start


def arbd_status(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "arbd", "status", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def check(path: Path) -> tuple[int, str]:
    done = arbd_status("--check", str(path))
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.returncode, done.stdout.rstrip()


def test_it_is_good_while_it_takes_tasks(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    with daemon_of(workers=2, control_socket=str(path)):
        assert check(path) == (0, "zoo: good: the hub is up, 2 of 2 workers serve")
        client.ask(path, protocol.DrainDaemon(), OperationReply)
        code, why = check(path)
        assert (code, why.startswith("zoo: it takes no more tasks: it ")) == (1, True)
        client.ask(path, protocol.Resume(), Done)
        assert check(path)[0] == 0
    assert check(path) == (1, f"{path}: there is no such socket; `arbd status` without a name finds a running daemon")


def test_one_without_a_hub_or_that_hangs_is_not(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    hub = HubProcess(hold_s=0.2)
    with Arbd.run(hub.address, tmp_path, env={"ARBD_CONTROL_SOCKET": str(path)}) as daemon:
        daemon.wait_serving()
        eventually(lambda: check(path)[0] == 0)
        hub.stop()
        eventually(lambda: check(path) == (1, f"prov: the hub {hub.address} is not reached"))
        daemon.signal(signal.SIGSTOP)
        begun = time.monotonic()
        assert check(path) == (1, f"{path}: the daemon did not answer within 2 s; it is stopped or overloaded")
        assert time.monotonic() - begun < 10
        daemon.signal(signal.SIGCONT)


def test_it_takes_less_cpu_time_than_it_may_take_time(tmp_path: Path) -> None:
    """How long it takes where others want the CPU, too, says nothing of it; that is bench's to measure."""
    path = tmp_path / "c.sock"
    with daemon_of(workers=2, control_socket=str(path)):

        def in_time() -> None:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert check(path)[0] == 0
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= START_S

        at_best(in_time, 5)


def test_watching_shows_it_again_until_the_daemon_s_end(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    command = [sys.executable, "-m", "arbd", "status", "--watch", "--json", str(path)]
    with daemon_of(control_socket=str(path)):
        watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
        assert watching.stdout is not None
        looks = [json.loads(watching.stdout.readline()) for _ in range(2)]
        assert looks[0]["uptime_s"] < looks[1]["uptime_s"]
        assert looks[0]["pid"] == os.getpid()
    _, told = watching.communicate(timeout=30)
    assert watching.returncode == 1
    assert told.startswith(f"arbd: {path}: ")
