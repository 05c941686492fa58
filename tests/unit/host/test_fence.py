"""A fence never blocks, whatever was going on, and with it no wake-up between two processes is ever missed."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from arbd.host import doorbell, memory
from arbd.host.fence import make_fence, make_fences


def test_a_fence_can_be_passed_any_number_of_times() -> None:
    one, other = make_fence(), make_fence()
    for _ in range(1000):
        one()
        other()


def test_either_of_a_pair_may_be_passed_many_times_more_than_the_other() -> None:
    for passed in make_fences():
        for _ in range(100_000):
            passed()


def without_semaphores(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOENT, "no /dev/shm")

    monkeypatch.setattr("_multiprocessing.SemLock", refuse)


def test_where_no_semaphore_can_be_had_a_lock_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without_semaphores(monkeypatch)
    one, other = make_fences()
    for _ in range(1000):
        one()
        one()
        other()
        make_fence()()


def test_a_fence_that_an_exception_left_halfway_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft deadline may raise between taking the lock and giving it back."""
    without_semaphores(monkeypatch)
    lock = threading.Lock()
    monkeypatch.setattr(threading, "Lock", lambda: lock)
    passed = make_fence()
    lock.acquire()
    passed()
    assert lock.locked() is False
    passed()
    assert lock.locked() is False


def test_nothing_is_left_in_the_file_system() -> None:
    make_fences()
    assert not list(Path("/dev/shm").glob(f"sem.arbd-fence-{os.getpid()}-*"))


_SLEEPER = """
import sys
from arbd.host import doorbell, memory
from arbd.host.fence import make_fence

cell, bell, answer, rounds = map(int, sys.argv[1:])
words = memory.words_of(memory.attach(cell))
fence = make_fence()
for number in range(1, rounds + 1):
    while words[0] != number:
        words[8] = 1  # I sleep
        fence()
        if words[0] != number:
            doorbell.wait(bell)
        words[8] = 0
    words[16] = number
    doorbell.ring(answer)
"""


def test_no_wake_up_is_missed() -> None:
    """One says that it sleeps and looks again; the other publishes and looks whether it sleeps."""
    rounds = 5000
    fd, bell, answer = memory.create("test-fence", 4096), doorbell.create(), doorbell.create()
    words, pass_fence = memory.words_of(memory.attach(fd)), make_fence()
    answered = select.poll()
    answered.register(answer, select.POLLIN)
    fds = (fd, bell, answer)
    with subprocess.Popen([sys.executable, "-c", _SLEEPER, *map(str, (*fds, rounds))], pass_fds=fds) as sleeper:
        rung = 0
        for number in range(1, rounds + 1):
            words[0] = number
            pass_fence()
            if words[8]:
                doorbell.ring(bell)
                rung += 1
            if not answered.poll(30_000):
                sleeper.kill()  # it sleeps for ever
                break
            doorbell.wait(answer)
    assert (words[16], sleeper.returncode) == (rounds, 0)
    assert 0 < rung <= rounds
    for fd in fds:
        os.close(fd)
