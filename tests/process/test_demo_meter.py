"""The demo's meter finds workers by their name, anywhere below the daemon, and counts the CPU time they used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from arbd.tuning.meter import Meter

# A daemon with a helper (not a worker) below it, and a worker below that: as supervisor, zygote and workers are.
# The worker, once told to, burns CPU time until it has used 0.2 s and says so; told again, it ends. Who started it
# says so then, and stays.
WORKER = """
import os, sys, time
open('/proc/self/comm', 'w').write('arbd:worker-7')
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print('named', flush=True)
sys.stdin.readline()
while time.process_time() < 0.2:
    pass
print('burnt', flush=True)
sys.stdin.readline()
"""
PARENT = """
import subprocess, sys
subprocess.call([sys.executable, '-c', *sys.argv[1:]])
print('worker ended', flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def daemon() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PARENT, PARENT, WORKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.communicate()  # the worker reads end of file and ends; so do its parents


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_worker_is_found_and_its_time_counted(daemon: subprocess.Popen[str]) -> None:
    assert said(daemon) == "named"
    meter = Meter(daemon.pid, 100.0)
    tell(daemon)
    assert said(daemon) == "burnt"

    load = meter.stop(110.0)

    (worker,) = load.workers
    assert worker.name == "arbd:worker-7"
    # At most 0.2 s of CPU time over the 10 s that the clock was told, and most of it was used after the start.
    assert 0.005 < worker.busy <= 0.021
    (cpu,) = worker.cpus
    assert worker.cpu_busy == load.cpus_busy[cpu]
    assert 0.0 < worker.cpu_busy <= 1.0
    assert 0.0 <= load.supervisor_busy < 0.01


def test_worker_that_came_after_the_start_counts_from_its_birth(daemon: subprocess.Popen[str]) -> None:
    meter = Meter(daemon.pid, 0.0)
    assert said(daemon) == "named"
    tell(daemon)
    assert said(daemon) == "burnt"
    (worker,) = meter.stop(1.0).workers
    assert 0.19 <= worker.busy <= 0.25


def test_worker_that_ended_counts_up_to_its_last_sample(daemon: subprocess.Popen[str]) -> None:
    assert said(daemon) == "named"
    meter = Meter(daemon.pid, 0.0)
    tell(daemon)
    assert said(daemon) == "burnt"
    meter.sample()
    tell(daemon)
    assert said(daemon) == "worker ended"
    (worker,) = meter.stop(1.0).workers
    assert worker.busy > 0.05


def test_daemon_that_ended_leaves_the_samples_before(daemon: subprocess.Popen[str]) -> None:
    assert said(daemon) == "named"
    meter = Meter(daemon.pid, 0.0)
    daemon.communicate()
    assert [worker.name for worker in meter.stop(1.0).workers] == ["arbd:worker-7"]
