"""Claim: where nothing is to be done, nothing wakes up: no worker and no zygote at all, and the supervisor's event loop
only for what its link to the hub asks for."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
from daemon_support import PROVIDERS, Arbd, Hub, at_best

from arbd.core.idle_looks import APART_S

WINDOW_S = 1.0
WORKERS = 4


def wakeups(pid: int) -> int:
    """How often the main thread of a process went to sleep, and so was woken."""
    return int(psutil.Process(pid).num_ctx_switches().voluntary)


@pytest.mark.parametrize(
    ("protocol", "of_the_event_loop"),
    [
        ("stream", 5),  # a heartbeat every 10 s, or a renewal
        ("unary", 20),  # one poll each second: a call, its answer, the pause
    ],
)
def test_an_idle_daemon_sleeps(tmp_path: Path, protocol: str, of_the_event_loop: int) -> None:
    """After it was busy, and with limits of every kind that could be looked at."""
    env = {"ARBD_HUB_PROTOCOL": protocol, "TASK_EXECUTION_TIMEOUT": "0.2"}
    limited = PROVIDERS / "limited.py"
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=limited, workers=WORKERS, env=env) as daemon:
        daemon.wait_serving(WORKERS)
        for action in ("free", "ours", "waiting"):
            hub.submit(action, count=8)
        hub.results()
        workers = [pid for name, pids in daemon.family().items() if name.startswith("arbd:worker") for pid in pids]
        assert len(workers) == WORKERS
        sleepers = [*workers, *daemon.family()["arbd:zygote"]]

        def watch() -> None:
            # From the last task's deadline on: a worker's timer may stand there, and then finds nothing to do; and
            # until workers that are idle have been rung.
            time.sleep(4 * APART_S)
            before = {pid: wakeups(pid) for pid in (*sleepers, daemon.process.pid)}
            time.sleep(WINDOW_S)
            woken = {pid: wakeups(pid) - count for pid, count in before.items()}
            assert woken.pop(daemon.process.pid) <= of_the_event_loop
            assert woken == dict.fromkeys(sleepers, 0)

        at_best(watch)
