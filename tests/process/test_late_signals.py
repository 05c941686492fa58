"""A signal that comes when the action it was meant for has ended, and its handler is put back, ends nobody."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from daemon_support import daemon_of, responses
from import_support import written

from arbd.testing import RunningProvider

SOURCE = """
import asyncio, ctypes, signal, socket, subprocess, threading, time

KEPT = []
LATE_S = 0.03

def raises(*_):
    raise TimeoutError

def by_a_child(signum):
    KEPT.append(subprocess.Popen(["sh", "-c", f"sleep {LATE_S}; kill -{signum} $PPID"]))

def by_a_thread(signum):
    def late():
        time.sleep(LATE_S)
        os.kill(os.getpid(), signum)
    threading.Thread(target=late, daemon=True).start()

def by_a_timer_in_c(signum):
    event = (ctypes.c_int * 16)()
    event[2] = signum
    timer = ctypes.c_void_p()
    libc = ctypes.CDLL(None)
    assert libc.timer_create(1, event, ctypes.byref(timer)) == 0
    assert libc.timer_settime(timer, 0, (ctypes.c_long * 4)(0, 0, 0, int(LATE_S * 1e9)), None) == 0

HOW = {each.__name__: each for each in (by_a_child, by_a_thread, by_a_timer_in_c)}

@provider.actions.register()
def limits_its_time(how: str, signum: int):
    signal.signal(signum, raises)
    HOW[how](signum)
    return os.getpid()

@provider.actions.register()
async def limits_its_time_on_the_loop(how: str, signum: int):
    asyncio.get_running_loop().add_signal_handler(signum, raises)
    HOW[how](signum)
    return os.getpid()

@provider.actions.register()
def works():
    until = time.monotonic() + 0.08
    while time.monotonic() < until:
        time.sleep(0.001)
    return os.getpid()

@provider.actions.register()
def of_a_child():
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(5)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
CASES = [
    ("limits_its_time", "by_a_child", signal.SIGUSR1),
    ("limits_its_time", "by_a_thread", signal.SIGUSR2),
    ("limits_its_time", "by_a_thread", signal.SIGRTMIN + 9),
    ("limits_its_time", "by_a_timer_in_c", signal.SIGIO),
    ("limits_its_time_on_the_loop", "by_a_thread", signal.SIGUSR1),
]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProvider]:
    with daemon_of(written(tmp_path_factory.mktemp("late"), SOURCE)) as daemon:
        yield daemon


@pytest.mark.parametrize(("action", "how", "signum"), CASES)
def test_it_ends_no_innocent(daemon: RunningProvider, action: str, how: str, signum: int) -> None:
    handles = [daemon.submit(action, {"how": how, "signum": int(signum)}), daemon.submit("works")]
    late, innocent = responses(daemon, handles)
    assert late.status == innocent.status == "success", innocent
    assert innocent.data == late.data


def test_a_child_of_an_action_has_the_defaults(daemon: RunningProvider) -> None:
    assert daemon.run("of_a_child").data == -signal.SIGUSR1
