"""The daemon as the first process of a container: it reaps what loses its parent there, and ends as it should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from daemon_support import PROVIDERS, Arbd, Hub, eventually, is_alive

LEAVER = PROVIDERS / "leaver.py"
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def has_namespaces() -> bool:
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not has_namespaces(), reason="needs root, and unshare, to be PID 1 of a namespace")


def is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Container(Arbd):
    """``arbd run`` as PID 1 of a PID namespace."""

    @property
    def first(self) -> psutil.Process:
        """The daemon, as this namespace sees it."""
        return eventually(lambda: next(iter(psutil.Process(self.process.pid).children()), None))

    def zombies(self) -> list[psutil.Process]:
        return [each for each in self.first.children(recursive=True) if is_zombie(each)]

    def run_inside(self, code: str) -> None:
        """As ``docker exec`` does."""
        command = ["nsenter", "-t", str(self.first.pid), "-p", "-m", sys.executable, "-S", "-c", code]
        subprocess.run(command, check=True, timeout=30)


@contextmanager
def container(hub: Hub, directory: Path) -> Iterator[Container]:
    launch = "import os, sys\nos.execvp(sys.argv[1], sys.argv[1:])"
    arbd = [sys.executable, "-m", "arbd", "run", str(LEAVER), "--hub", hub.address, "--name", "prov", "--no-pin"]
    arbd += ["--workers", "2", "--log-format", "json", "--log-level", "debug"]
    first = Container(["-c", launch, *NAMESPACE, *arbd], directory)
    with first:
        first.wait_serving()
        yield first


def test_what_loses_its_parent_is_reaped(tmp_path: Path) -> None:
    with Hub() as hub, container(hub, tmp_path) as arbd:
        hub.submit("whole", {"count": 20}, count=3)
        hub.submit("leave", {"way": "double_fork", "path": str(tmp_path / "child")})
        assert {result.status for result in hub.results().values()} == {"success"}
        eventually(lambda: not arbd.zombies(), 5)
        for _ in range(3):  # from outside of the daemon: not a descendant of its zygote
            arbd.run_inside("import os, time\nif os.fork() == 0:\n    time.sleep(0.05)")
        eventually(lambda: not arbd.zombies() and not stray(arbd), 10)
        assert hub.results()
        os.kill(arbd.first.pid, signal.SIGTERM)
        assert arbd.exit_code() == 0


def stray(arbd: Container) -> list[psutil.Process]:
    return [child for child in arbd.first.children() if not name_of(child).startswith("arbd:")]


def name_of(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return "gone"


def test_what_is_not_the_daemon_s_is_reaped_and_never_killed(tmp_path: Path) -> None:
    with Hub() as hub, container(hub, tmp_path) as arbd:
        arbd.run_inside("import os, time\nif os.fork() == 0:\n    time.sleep(600)")
        [other] = eventually(lambda: stray(arbd))
        [zygote] = [child for child in arbd.first.children() if name_of(child) == "arbd:zygote"]
        zygote.kill()
        arbd.wait_event("worker_ready", 4)
        time.sleep(0.2)
        assert other.is_running()
        os.kill(arbd.first.pid, signal.SIGTERM)
        assert arbd.exit_code() == 0
        eventually(lambda: not is_alive(other.pid), 2)  # with the namespace


def test_a_zygote_that_is_killed(tmp_path: Path) -> None:
    """Its workers, and what those had started, come to PID 1."""
    with Hub() as hub, container(hub, tmp_path) as arbd:
        for way in ("new_session", "double_fork", "mp_spawn"):
            hub.submit("leave", {"way": way, "path": str(tmp_path / way)})
        assert {result.status for result in hub.results().values()} == {"success"}
        [zygote] = [child for child in arbd.first.children() if name_of(child) == "arbd:zygote"]
        below = zygote.children(recursive=True)
        assert len(below) >= 5
        zygote.kill()
        eventually(lambda: not [child for child in below if is_alive(child.pid)], 3)
        arbd.wait_event("worker_ready", 4)
        eventually(lambda: not arbd.zombies(), 5)
        os.kill(arbd.first.pid, signal.SIGTERM)
        assert arbd.exit_code() == 0
