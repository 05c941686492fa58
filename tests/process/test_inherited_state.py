"""Whatever state a daemon inherits from who starts it, it serves, replaces workers, and ends with the right code; where
it cannot, it says why at the start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from daemon_support import ZOO, Arbd, Hub, eventually, is_alive

from arbd.errors import EXIT_CONFIG, EXIT_OK

RUN = ["-m", "arbd", "run", str(ZOO), "--name", "prov", "--workers", "2", "--no-pin"]
LOGS = ["--log-format", "json", "--log-level", "debug"]


def launched(inherited: str, directory: Path, arguments: list[str]) -> Arbd:
    """``python ARGUMENTS``, started by a process that has done ``inherited``."""
    launcher = f"import os, signal, sys\n{inherited}\nos.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    return Arbd(["-c", launcher, *arguments], directory)


@pytest.mark.parametrize("closed", ["0", "0, 1"])
def test_closed_standard_descriptors(tmp_path: Path, closed: str) -> None:
    """An event loop's descriptor with such a number used to abort the process at its end (libuv#4558)."""
    inherited = f"for fd in ({closed},): os.close(fd)"
    with Hub() as hub, launched(inherited, tmp_path, [*RUN, *LOGS, "--hub", hub.address]) as arbd:
        arbd.wait_serving()
        [task_id] = hub.submit("echo", {"n": 1})
        assert hub.results()[task_id].status == "success"
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK


@pytest.mark.parametrize("closed", ["2", "0, 1, 2"])
def test_closed_standard_error(tmp_path: Path, closed: str) -> None:
    """Nobody can read its log then: it is the tasks that tell."""
    inherited = f"for fd in ({closed},): os.close(fd)"
    with Hub() as hub, launched(inherited, tmp_path, [*RUN, "--hub", hub.address]) as arbd:
        [task_id] = hub.submit("echo", {"n": 1})
        assert hub.results()[task_id].status == "success"
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK


@pytest.mark.parametrize(
    "inherited",
    [
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    ],
)
def test_ignored_or_blocked_signals(tmp_path: Path, inherited: str) -> None:
    """A worker's end used to take the zygote along, and so the tasks of all the others (gdnsd#243)."""
    with Hub() as hub, launched(inherited, tmp_path, [*RUN, *LOGS, "--hub", hub.address]) as arbd:
        arbd.wait_serving()
        family = arbd.family()
        [one], [other] = family["arbd:worker-0"], family["arbd:worker-1"]
        os.kill(one, signal.SIGKILL)
        arbd.wait_event("worker_ready", 3)
        assert arbd.family()["arbd:zygote"] == family["arbd:zygote"]
        assert is_alive(other)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK


def test_ignored_children_of_links_and_shared_monitors(tmp_path: Path) -> None:
    """The other roles that wait for a process: a link process and the one of shared monitors are replaced."""
    target = tmp_path / "monitored.py"
    target.write_text(
        "from arbd import Provider\nfrom arbd.rate_limit import RateLimitMonitor\nprovider = Provider(name='p')\n"
        "class Shared(RateLimitMonitor):\n    shared = True\n    def check_rate_limits(self): return None\n"
        "provider.rate_limit_monitor = Shared()\n@provider.actions.register(name='echo')\ndef echo(): return 1\n"
    )
    inherited = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    inherited += "os.environ.update(ARBD_HUB_LINKS='1', ARBD_HUB_PROTOCOL='unary')"
    command = ["-m", "arbd", "run", str(target), "--name", "prov", "--workers", "1", "--no-pin", *LOGS]
    with Hub() as hub, launched(inherited, tmp_path, [*command, "--hub", hub.address]) as arbd:
        arbd.wait_serving(1)
        eventually(lambda: {"arbd:link-1", "arbd:limits"} <= arbd.family().keys())
        for name in ("arbd:link-1", "arbd:limits"):
            os.kill(arbd.family()[name][0], signal.SIGKILL)
        [lost], [ended] = arbd.wait_event("link_lost"), arbd.wait_event("shared_monitors_ended")
        assert (lost["status"], ended["status"]) == (-signal.SIGKILL, -signal.SIGKILL)
        eventually(lambda: {"arbd:link-2", "arbd:limits"} <= arbd.family().keys())
        hub.submit("echo")
        assert {result.status for result in hub.results().values()} == {"success"}
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_while_it_starts(tmp_path: Path, signum: signal.Signals) -> None:
    """A reload that comes early, or what has no meaning. Again and again, from when the interpreter has started."""
    with Hub() as hub, Arbd.run(hub.address, tmp_path) as arbd:
        maps = Path(f"/proc/{arbd.process.pid}/maps")
        # click and the like are loaded long after the first lines of arbd, so this is well before the daemon's handler.
        eventually(lambda: "msgspec" in maps.read_text() or arbd.process.poll() is not None)
        for _ in range(20):
            arbd.signal(signum)
            time.sleep(0.01)
        arbd.wait_serving()
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK


def test_a_hangup_of_the_terminal_ends_other_commands(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "arbd", "hub", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    assert process.wait(10) == -signal.SIGHUP
    process.stdout.close()


SECCOMP = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
RETURN, ALLOW, FAIL = 0x06, 0x7FFF0000, 0x00050000
program = b"".join(struct.pack("<HBBI", *line) for line in [
    (0x20, 0, 0, 0),  # the number of the call
    (0x15, 0, 1, CALL),
    (RETURN, 0, 0, FAIL | ERRNO),
    (RETURN, 0, 0, ALLOW),
])
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
    PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Filter(4, program)), 0, 0
):
    sys.exit("no seccomp here")
"""


@pytest.mark.parametrize(
    ("call", "number", "error", "told"),
    [
        (434, 1, "EPERM", "arbd needs pidfd_open (to watch and kill exactly the right process)"),
        (424, 1, "EPERM", "arbd needs pidfd_send_signal (to kill exactly the right process)"),
        (319, 38, "ENOSYS", "arbd needs memfd_create with seals (for the memory between supervisor and workers)"),
    ],
)
def test_a_call_that_the_container_forbids(tmp_path: Path, call: int, number: int, error: str, told: str) -> None:
    """An old runtime's profile answers EPERM to what it does not know (docker/for-linux#1142)."""
    forbid = SECCOMP.replace("CALL", str(call)).replace("ERRNO", str(number))
    with launched(forbid, tmp_path, [*RUN, "--hub", "127.0.0.1:1"]) as arbd:
        code = arbd.exit_code()
        log = arbd.log.read_text()
        if "no seccomp here" in log:
            pytest.skip("this machine has no seccomp filters")
        assert code == EXIT_CONFIG
        assert f"{told}, and here it fails with {error}" in log


FORBID_SUBREAPER = (
    SECCOMP.replace(
        """    (0x15, 0, 1, CALL),
""",
        """    (0x15, 0, 3, 157),  # prctl
    (0x20, 0, 0, 16),  # its first argument
    (0x15, 0, 1, 36),  # PR_SET_CHILD_SUBREAPER
""",
    )
    .replace("Filter(4,", "Filter(6,")
    .replace("ERRNO", "1")
)


def test_a_container_that_forbids_subreapers(tmp_path: Path) -> None:
    """It serves, and says what it cannot promise; what is in a worker's group is gone with it all the same."""
    with Hub() as hub, launched(FORBID_SUBREAPER, tmp_path, [*RUN, *LOGS, "--hub", hub.address]) as arbd:
        eventually(lambda: arbd.process.poll() is not None or "worker_ready" in arbd.log.read_text())
        if "no seccomp here" in arbd.log.read_text():
            pytest.skip("this machine has no seccomp filters")
        arbd.wait_serving()
        assert [line["level"] for line in arbd.events("no_subreaper")] == ["warning"]
        assert [line["level"] for line in arbd.events("descendants_not_followed")] == ["warning"]
        child = tmp_path / "child"
        hub.submit("parent", {"path": str(child), "then": "wait"})
        eventually(child.exists)
        for name in ("arbd:worker-0", "arbd:worker-1"):
            os.kill(arbd.family()[name][0], signal.SIGKILL)
        eventually(lambda: not is_alive(int(child.read_text())), 3)
        assert hub.results()
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK
