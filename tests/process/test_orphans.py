"""No process outlives the supervisor, however it ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from daemon_support import PROVIDERS, ZOO, Arbd, Gate, Hub, daemon_of, eventually, is_alive, serving


@pytest.mark.parametrize("target", [ZOO, PROVIDERS / "threaded.py"])
def test_nothing_is_left_one_second_after_a_kill_of_the_supervisor(tmp_path: Path, target: Path) -> None:
    """The zygote hears the end of the stream and takes everybody along, what actions started included."""
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=target) as arbd:
        arbd.wait_serving()
        gate, child = Gate(tmp_path), tmp_path / "child"
        hub.submit("hold", gate.payload)
        hub.submit("parent", {"path": str(child), "then": "wait"})
        assert gate.pid
        eventually(child.exists)
        family = arbd.family()
        assert sorted(family) == ["arbd:worker-0", "arbd:worker-1", "arbd:zygote", "sleep"]
        arbd.signal(signal.SIGKILL)
        assert arbd.exit_code() == -signal.SIGKILL
        eventually(lambda: not [pid for pids in family.values() for pid in pids if is_alive(pid)], 1)


def test_a_supervisor_that_is_killed_while_the_module_is_imported(tmp_path: Path) -> None:
    target = tmp_path / "slow.py"
    target.write_text(f"import time\nopen({str(tmp_path / 'importing')!r}, 'w').close()\ntime.sleep(600)\n")
    with Arbd.run("127.0.0.1:1", tmp_path, target=target) as arbd:
        eventually((tmp_path / "importing").exists)
        [zygote] = arbd.family()["arbd:zygote"]
        arbd.signal(signal.SIGKILL)
        eventually(lambda: not is_alive(zygote), 1)


def test_a_supervisor_that_is_killed_during_a_stopped_zygote(tmp_path: Path) -> None:
    """The kernel takes the zygote as soon as it goes on, and the workers with it."""
    with Hub() as hub, Arbd.run(hub.address, tmp_path) as arbd:
        arbd.wait_serving()
        family = arbd.family()
        [zygote] = family["arbd:zygote"]
        os.kill(zygote, signal.SIGSTOP)
        arbd.signal(signal.SIGKILL)
        os.kill(zygote, signal.SIGCONT)
        eventually(lambda: not [pid for pids in family.values() for pid in pids if is_alive(pid)], 1)


def stands_still(hub: Hub) -> bool:
    """Whether no result has come for half a second: those under way when a supervisor was stopped are there then."""
    done = hub.done()
    time.sleep(0.5)
    return hub.done() == done


def test_a_stopped_supervisor_goes_on_where_it_was(tmp_path: Path) -> None:
    """SIGSTOP and SIGCONT: workers wait for it, and no task is taken for late or lost because of that."""
    with Hub() as hub, Arbd.run(hub.address, tmp_path) as arbd:
        arbd.wait_serving()
        hub.submit("quick_sleep", {"seconds": 0.002}, count=2000)  # late after 0.4 s
        eventually(lambda: hub.done() > 100)
        arbd.signal(signal.SIGSTOP)
        eventually(lambda: "T" in Path(f"/proc/{arbd.process.pid}/stat").read_text().rpartition(")")[2])
        eventually(lambda: stands_still(hub))  # longer than a task may take
        assert hub.done() < 2000
        arbd.signal(signal.SIGCONT)
        assert {result.status for result in hub.results().values()} == {"success"}
        assert arbd.events("task_killed") == []
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


def test_a_worker_that_is_forked_while_its_zygote_ends(tmp_path: Path) -> None:
    """The fork is done, and the child has not yet tied itself to its parent when that is gone.

    It used to ask for its parent's number only then, was told that of init, and lived on for ever.
    """
    target = PROVIDERS / "slow_boot.py"
    with daemon_of(target, argv=[str(tmp_path)]) as daemon:
        (tmp_path / "wait").touch()
        os.kill(serving(daemon).pid, signal.SIGKILL)
        starting = Gate(tmp_path, "boot").pid
        zygote = psutil.Process(starting).ppid()
        os.kill(zygote, signal.SIGKILL)
        eventually(lambda: psutil.Process(starting).ppid() != zygote)
        (tmp_path / "wait").unlink()
        eventually(lambda: not is_alive(starting), 2)
