"""No process outlives the one it depends on, and a kill hits exactly the process or group it is meant for."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from arbd.host import procs

FAR_LONGER_THAN_ANY_TEST_S = 60


@contextmanager
def python(code: str, **options: bool) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs ``code``; gone at the end of the block."""
    program = f"import os, sys, time\nfrom arbd.host import procs\n{code}"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=options.get("new_session", False),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ends(pidfd: int, timeout_s: float = 10.0) -> bool:
    """Whether the process ends within that time. Unlike ``waitpid``, for any process."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


# Dying with the parent -------------------------------------------------------------------------------------------

_FAMILY = f"""
child = os.fork()
if child == 0:
    procs.die_with_parent(os.getppid())
    {{then}}
    print(os.getpid(), flush=True)
    time.sleep({FAR_LONGER_THAN_ANY_TEST_S})
else:
    os.waitpid(child, 0)
"""


def test_a_child_dies_with_its_parent_however_that_ends() -> None:
    with python(_FAMILY.format(then="pass")) as parent:
        child = os.pidfd_open(int(line(parent)))
        assert ends(child, 0) is False
        parent.kill()
        assert ends(child) is True
    os.close(child)


def test_outlive_parent_takes_it_back() -> None:
    with python(_FAMILY.format(then="procs.outlive_parent()")) as parent:
        child = os.pidfd_open(int(line(parent)))
        parent.kill()
        parent.wait()
        assert ends(child, 0.1) is False
        assert procs.kill(child) is True
        assert ends(child) is True
    os.close(child)


def test_a_child_whose_parent_is_gone_already_leaves_at_once() -> None:
    with python("procs.die_with_parent(os.getppid() + 1)\nprint('still here')") as process:
        assert process.wait(timeout=30) == 1
        assert line(process) == ""


# Killing ---------------------------------------------------------------------------------------------------------


def test_kill_by_handle() -> None:
    with python("print('up', flush=True)\ntime.sleep(60)") as process:
        assert line(process) == "up"
        pidfd = os.pidfd_open(process.pid)
        assert procs.kill(pidfd) is True
        assert process.wait(timeout=30) == -signal.SIGKILL
        assert procs.kill(pidfd) is False
    os.close(pidfd)


def test_wait_gone_returns_when_the_process_ends_or_the_time_is_over() -> None:
    with python("sys.stdin.read()") as process:
        pidfd = os.pidfd_open(process.pid)
        procs.wait_gone(pidfd, 0)
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.close()
        procs.wait_gone(pidfd, 30)
        assert process.wait(timeout=1) == 0
    os.close(pidfd)


def test_kill_group_takes_what_the_leader_started_and_nobody_else() -> None:
    group = """
child = os.fork()
if child == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
"""
    with python(group, new_session=True) as leader, python("time.sleep(60)") as other:
        child = os.pidfd_open(int(line(leader)))
        procs.kill_group(leader.pid)
        assert leader.wait(timeout=30) == -signal.SIGKILL
        assert ends(child) is True
        assert other.poll() is None
    os.close(child)


def test_killing_a_group_that_is_gone_is_no_error() -> None:
    with python("pass", new_session=True) as process:
        process.wait(timeout=30)
    procs.kill_group(process.pid)


def test_a_group_that_may_not_be_killed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of it runs as another user."""

    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", forbidden)
    procs.kill_group(1)


# Children --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("end", "status"), [("os._exit(3)", 3), ("os.kill(os.getpid(), 9)", -9)])
def test_reap_tells_how_a_child_ended(end: str, status: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", f"import os; {end}"], process_group=0)
    assert procs.reap(process.pid) == status
    process.returncode = status  # it is reaped; Popen need not look for it


def test_reap_of_one_that_somebody_else_has_reaped() -> None:
    """The author's code waits for any child, in a signal handler."""
    process = subprocess.Popen([sys.executable, "-c", "pass"], process_group=0)
    process.wait()
    assert procs.reap(process.pid) == procs.UNKNOWN_STATUS


def test_fork_gives_the_number_and_the_handle_of_a_child_in_a_group_of_its_own() -> None:
    code = """
pid, pidfd = procs.fork(lambda: os._exit(7 if os.getpgrp() == os.getpid() else 8))
print(procs.reap(pid), len(os.readlink(f"/proc/self/fd/{pidfd}")) > 0)
"""
    with python(code) as process:
        assert line(process) == "7 True"


def test_a_forked_child_that_returns_or_raises_ends_with_71() -> None:
    code = """
def fail(): raise RuntimeError("in the child")
sys.stderr = open(os.devnull, "w")
print([procs.reap(procs.fork(run)[0]) for run in (lambda: None, fail)], flush=True)
"""
    with python(code) as process:
        assert line(process) == "[71, 71]"


def test_without_a_handle_there_is_no_child_either() -> None:
    """A seccomp profile, or no descriptor: a child that nobody can watch is ended before anybody hears of it."""
    code = """
def forbidden(pid): raise PermissionError(1, "Operation not permitted")
os.pidfd_open = forbidden
try:
    procs.fork(lambda: time.sleep(60))
except PermissionError:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("no child", flush=True)
"""
    with python(code) as process:
        assert line(process) == "no child"


# Names and threads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [("arbd:worker-3", "arbd:worker-3"), ("a-name-that-is-too-long", "a-name-that-is-"), ("", "")],
)
def test_the_name_that_ps_shows(name: str, shown: str) -> None:
    with python(f"procs.set_name({name!r})\nprint(open('/proc/self/comm').read(), end='', flush=True)") as process:
        assert line(process) == shown


def test_a_process_without_threads_has_one() -> None:
    with python("procs.set_name('main')\nprint(procs.threads_of_this_process())") as process:
        assert line(process) == "['main']"


def test_threads_are_listed_behind_the_main_one() -> None:
    code = """
import threading
procs.set_name('main')
stop = threading.Event()
threads = [threading.Thread(target=lambda: (procs.set_name('sender'), up.wait(), stop.wait())) for _ in range(2)]
up = threading.Barrier(3)
for thread in threads:
    thread.start()
up.wait()
print(procs.threads_of_this_process(), flush=True)
stop.set()
"""
    with python(code) as process:
        assert line(process) == "['main', 'sender', 'sender']"
