"""Whatever the author's import does to its process, it costs no other task: signals, timers, CPUs, directory."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from daemon_support import Arbd, Hub, daemon_of, eventually, is_alive, responses
from import_support import PID, THREAD, leftovers, written

from arbd.errors import EXIT_OK

#: What modules do at import, and what should not matter afterwards.
STRIKES = {
    "exit at SIGTERM": "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n",
    "default for SIGTERM": "import signal\nfor s in (15, 2, 1): signal.signal(s, signal.SIG_DFL)\n",
    "raise at SIGUSR1": "import signal, sys\ndef strike(*_): raise KeyError\nsignal.signal(signal.SIGUSR1, strike)\n",
    "raise at all": """
import signal
def strike(*_): raise RuntimeError("struck")
for signum in (1, 2, 10, 12, 14, 15, 17, 23, 26, 27, 28): signal.signal(signum, strike)
""",
    "SIGCHLD ignored": "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n",
    "SIGCHLD reaps all": """
import signal
def reap(*_):
    while os.waitpid(-1, os.WNOHANG)[0]: pass
signal.signal(signal.SIGCHLD, reap)
""",
    "alarm": "import signal\nsignal.alarm(1)\n",
    "timers": """
import signal
def strike(*_): raise RuntimeError("late")
for signum in (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF): signal.signal(signum, strike)
for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF): signal.setitimer(timer, 0.05, 0.01)
""",
    "an alarm that has come, and is blocked": """
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
signal.setitimer(signal.ITIMER_REAL, 0.01)
os.kill(os.getpid(), signal.SIGUSR2)
time.sleep(0.1)
""",
    "watchdog": "import faulthandler\nfaulthandler.dump_traceback_later(1.0, exit=True)\n",
    "wakeup descriptor": """
import signal, socket
ours, theirs = socket.socketpair()
for end in (ours, theirs): end.setblocking(False)
signal.set_wakeup_fd(theirs.fileno())
""",
}


def zygote_of(pid: int) -> psutil.Process:
    parent = psutil.Process(pid).parent()
    assert parent is not None
    return parent


@pytest.mark.parametrize("left", ["", THREAD], ids=["fork", "exec"])
@pytest.mark.parametrize("strike", STRIKES)
def test_no_task_is_lost_by_what_the_import_has_set(tmp_path: Path, strike: str, left: str) -> None:
    """A SIGTERM to the whole control group turned running tasks into WORKER_LOST; a worker's death, all of them."""
    text = (
        STRIKES[strike]
        + left
        + PID
        + """
import time
@provider.actions.register(name="slow")
def slow(path):
    with open(path + ".new", "w") as said: said.write(str(os.getpid()))
    os.rename(path + ".new", path)
    until = time.monotonic() + 1.2
    while time.monotonic() < until: pass
"""
    )
    began = [tmp_path / name for name in "ab"]
    with daemon_of(written(tmp_path, text), workers=3, execution_timeout=20) as daemon:
        zygote = zygote_of(daemon.worker_pids[0])
        slow = [daemon.submit("slow", {"path": str(path)}) for path in began]
        eventually(lambda: all(path.exists() for path in began))
        busy = {int(path.read_text()) for path in began}
        for pid in [zygote.pid, *daemon.worker_pids]:
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(pid, signum)
        for idle in set(daemon.worker_pids) - busy:
            os.kill(idle, signal.SIGKILL)
        quick = [daemon.submit("pid") for _ in range(30)]
        assert {response.status for response in responses(daemon, [*slow, *quick])} == {"success"}
        assert is_alive(zygote.pid)


@pytest.mark.parametrize("signum", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_handler_of_the_author_s_works_in_workers_and_not_in_the_zygote(tmp_path: Path, signum: int) -> None:
    text = f"""
import signal
seen = []
def note(number, _): seen.append(os.getpid())
signal.signal({int(signum)}, note)
@provider.actions.register(name="struck")
def struck():
    os.kill(os.getpid(), {int(signum)})
    return seen == [os.getpid()] * len(seen) and len(seen) > 0
"""
    with daemon_of(written(tmp_path, text)) as daemon:
        zygote = zygote_of(daemon.worker_pids[0])
        os.kill(zygote.pid, signum)
        assert daemon.run("struck").data is True
        assert is_alive(zygote.pid)


def test_a_signal_to_the_whole_group_ends_no_worker_before_the_drain(tmp_path: Path) -> None:
    text = (
        STRIKES["raise at all"]
        + """
import time
@provider.actions.register(name="slow")
def slow(path):
    open(path, "w").close()
    time.sleep(1)
"""
    )
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=written(tmp_path, text)) as arbd:
        arbd.wait_serving()
        ids = [hub.submit("slow", {"path": str(tmp_path / name)})[0] for name in "ab"]
        eventually(lambda: all((tmp_path / name).exists() for name in "ab"))
        for pids in arbd.family().values():
            for pid in pids:
                os.kill(pid, signal.SIGTERM)
        arbd.signal(signal.SIGTERM)
        assert [hub.results()[one].status for one in ids] == ["success"] * 2
        assert arbd.exit_code() == EXIT_OK


# CPUs ------------------------------------------------------------------------------------------------------------

CPUS = """
at_import = sorted(os.sched_getaffinity(0))
@provider.actions.register(name="cpus")
def cpus(): return {"at_import": at_import, "now": sorted(os.sched_getaffinity(0))}
"""
ALL = sorted(os.sched_getaffinity(0))


@pytest.mark.parametrize("left", ["", THREAD], ids=["fork", "exec"])
def test_the_import_sees_as_many_cpus_as_a_worker_has(tmp_path: Path, left: str) -> None:
    target = written(tmp_path, CPUS + left)
    with daemon_of(target) as daemon:
        seen = daemon.run("cpus").data
        assert seen["now"] == ALL
        assert len(seen["at_import"]) == 1
        assert sorted(zygote_of(daemon.worker_pids[0]).cpu_affinity()) == ALL


@pytest.mark.skipif(len(ALL) < 2, reason="one CPU cannot be told from two")
def test_a_worker_of_two_cpus_imports_on_two(tmp_path: Path) -> None:
    with daemon_of(written(tmp_path, CPUS), worker_cpus=2) as daemon:
        assert len(daemon.run("cpus").data["at_import"]) == 2


def test_cpus_that_the_module_chooses_itself_are_told_and_kept(tmp_path: Path) -> None:
    text = f"os.sched_setaffinity(0, [{ALL[0]}])\n" + CPUS
    found = leftovers(tmp_path, text)
    if len(ALL) > 1:  # else it is what it had
        assert (list(found), found["affinity"].by_exec) == (["affinity"], False)
        assert found["affinity"].found == [f"CPUs {ALL[0]}"]
    with daemon_of(written(tmp_path, text)) as daemon:
        assert daemon.run("cpus").data["now"] == [ALL[0]]
    every = f"os.sched_setaffinity(0, {ALL})\n" + CPUS
    with daemon_of(written(tmp_path, every)) as daemon:
        assert daemon.run("cpus").data["now"] == ALL


# What a second import begins with -----------------------------------------------------------------------------------


def state_of(tmp_path: Path, left: str) -> dict[str, Any]:
    (tmp_path / "inner").mkdir(exist_ok=True)
    text = """
os.chdir("inner")
os.umask(os.umask(0) | 0o007)
os.environ["LAYERS"] = os.environ.get("LAYERS", "") + "x"
@provider.actions.register(name="state")
def state():
    mask = os.umask(0)
    os.umask(mask)
    return {"cwd": os.getcwd(), "layers": os.environ["LAYERS"], "umask": mask, "pid": os.getpid()}
"""
    written(tmp_path, text + left)
    # A target and a step that are relative to where the daemon was started.
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=Path("left.py"), workers=1) as arbd:
        arbd.wait_serving(1)
        [task] = hub.submit("state")
        found: dict[str, Any] = json.loads(hub.results()[task].result)["data"]
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK
    return found


def test_a_worker_by_exec_begins_where_the_zygote_began(tmp_path: Path) -> None:
    """What an import changes step by step is changed once, and what it changes is the author's to keep."""
    forked, by_exec = state_of(tmp_path, ""), state_of(tmp_path, THREAD)
    assert forked["cwd"] == by_exec["cwd"] == str(tmp_path / "inner")
    assert forked["layers"] == by_exec["layers"] == "x"
    assert forked["umask"] == by_exec["umask"]
    assert forked["umask"] & 0o007 == 0o007


def test_a_worker_by_exec_imports_undisturbed_by_signals(tmp_path: Path) -> None:
    text = (
        THREAD
        + """
import time
open(f"{__file__}.{os.getpid()}", "w").close()
time.sleep(0.5)
"""
        + PID
    )
    target = written(tmp_path, text)
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=target, workers=1) as arbd:
        files = eventually(lambda: len(found := list(tmp_path.glob("left.py.*"))) == 2 and found)
        zygote = arbd.family()["arbd:zygote"]
        importing = [int(file.suffix[1:]) for file in files]
        for pid in set(importing) - set(zygote):
            os.kill(pid, signal.SIGTERM)
        arbd.wait_serving(1)
        assert arbd.events("worker_cannot_boot") == []
        begin = time.monotonic()
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK
        assert time.monotonic() - begin < 20
