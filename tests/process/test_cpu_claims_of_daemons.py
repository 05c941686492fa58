"""Daemons of one host choose CPUs that no other has, also when they start at the same moment; what one had claimed is
free when it is gone, however it went. Each test has a world of claims of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from daemon_support import ZOO, Arbd, eventually

from arbd.host.cpu_claim import CpuClaims

CPUS = sorted(os.sched_getaffinity(0))
NO_HUB = "127.0.0.1:1"
_worlds = count()

#: Chooses 2 of 16 CPUs, two at a time, as soon as it is told to; says which, and keeps them until the end of stdin.
CHOOSER = """
import sys
from arbd.core.placement import place
from arbd.host.cpu_claim import CpuClaims
claims = CpuClaims(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
with claims.turn():
    placement = place(1, range(16), {}, 2, claims.counts(range(16)))
    claims.claim(placement.workers[0])
print(placement.workers[0], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def world() -> str:
    return f"arbd-test-{os.getpid()}-{next(_worlds)}"


def test_those_that_start_at_the_same_moment_choose_other_cpus(world: str) -> None:
    choosers = [
        subprocess.Popen(
            [sys.executable, "-c", CHOOSER, world], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    try:
        for chooser in choosers:
            assert chooser.stdout is not None
            assert chooser.stdout.readline() == "ready\n"
        for chooser in choosers:
            assert chooser.stdin is not None
            chooser.stdin.write("\n")
            chooser.stdin.flush()
        chosen = [chooser.stdout.readline() for chooser in choosers if chooser.stdout is not None]
        assert sorted(chosen) == sorted(f"({cpu}, {cpu + 1})\n" for cpu in range(0, 16, 2))
        assert CpuClaims(world).counts(range(16)) == dict.fromkeys(range(16), 1)
    finally:
        for chooser in choosers:
            chooser.communicate()
    assert CpuClaims(world).counts(range(16)) == dict.fromkeys(range(16), 0)


class Host:
    """Daemons of one world, each with a directory of its own."""

    def __init__(self, world: str, directory: Path, started: ExitStack) -> None:
        self._world = world
        self._directory = directory
        self._started = started
        self._names = count()

    def start(self, *flags: str) -> Arbd:
        """A daemon with one worker, once that serves."""
        directory = self._directory / str(next(self._names))
        directory.mkdir()
        code = f"from arbd.host import cpu_claim; cpu_claim.PREFIX = {self._world!r}; from arbd.cli import main; main()"
        arguments = ["run", str(ZOO), "--hub", NO_HUB, "--workers", "1", "--log-format", "json", "--log-level", "debug"]
        env = {"RUNTIME_DIRECTORY": str(directory)}
        daemon = self._started.enter_context(Arbd(["-c", code, *arguments, *flags], directory, env))
        daemon.wait_serving(1)
        return daemon


@pytest.fixture
def host(world: str, tmp_path: Path) -> Iterator[Host]:
    with ExitStack() as started:
        yield Host(world, tmp_path, started)


def cpus_of_worker(daemon: Arbd) -> set[int]:
    return os.sched_getaffinity(daemon.family()["arbd:worker-0"][0])


def claimed(world: str) -> list[int]:
    """By how many daemons each CPU is."""
    return list(CpuClaims(world).counts(CPUS).values())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_second_goes_elsewhere_and_the_next_takes_the_place_of_one_that_is_gone(
    world: str, host: Host, how: signal.Signals
) -> None:
    daemons = [host.start() for _ in CPUS[:2]]
    assert [cpus_of_worker(daemon) for daemon in daemons] == [{cpu} for cpu in CPUS[:2]]
    assert not any(daemon.events("cpus_shared") for daemon in daemons)
    daemons[0].signal(how)
    daemons[0].exit_code()
    assert cpus_of_worker(host.start()) == {CPUS[0]}


def test_where_all_are_taken_they_are_shared_and_that_is_said(world: str, host: Host) -> None:
    first = host.start("--workers", str(len(CPUS)))
    assert claimed(world) == [1] * len(CPUS)
    second = host.start()
    assert cpus_of_worker(second) == {CPUS[0]}
    (said,) = second.events("cpus_shared")
    assert (said["level"], said["cpus"]) == ("info", str(CPUS[0]))
    assert not first.events("cpus_shared")
    assert claimed(world) == [2] + [1] * (len(CPUS) - 1)


def test_a_reload_and_a_replaced_worker_keep_the_claim(world: str, host: Host) -> None:
    daemon = host.start()
    daemon.signal(signal.SIGHUP)
    _, reloaded = daemon.wait_event("worker_ready", 2)
    os.kill(reloaded["pid"], signal.SIGKILL)
    daemon.wait_event("worker_ready", 3)
    assert claimed(world) == [1] + [0] * (len(CPUS) - 1)
    daemon.signal(signal.SIGTERM)
    assert daemon.exit_code() == 0
    eventually(lambda: not any(claimed(world)))


def test_an_unpinned_daemon_claims_nothing(world: str, host: Host) -> None:
    daemon = host.start("--no-pin")
    assert not any(claimed(world))
    assert cpus_of_worker(daemon) == set(CPUS)


def test_status_shows_the_cpus(world: str, host: Host, tmp_path: Path) -> None:
    host.start("--workers", "1")
    environ = {**os.environ, "RUNTIME_DIRECTORY": str(tmp_path / "0")}
    status = subprocess.run(
        [sys.executable, "-m", "arbd", "status", "zoo", "--json"],
        capture_output=True,
        text=True,
        env=environ,
        timeout=60,
    )
    assert status.stderr == ""
    assert [worker["cpus"] for worker in json.loads(status.stdout)["workers"]] == [[CPUS[0]]]
