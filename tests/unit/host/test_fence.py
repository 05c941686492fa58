"""A fence never blocks, whatever was going on, and with it no wake-up between two processes is ever missed."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading

import pytest

from arbd.host import doorbell, memory
from arbd.host.fence import make_fence


def test_a_fence_can_be_passed_any_number_of_times() -> None:
    one, other = make_fence(), make_fence()
    for _ in range(1000):
        one()
        other()


def test_a_fence_that_an_exception_left_halfway_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft deadline may raise between taking the lock and giving it back."""
    lock = threading.Lock()
    monkeypatch.setattr(threading, "Lock", lambda: lock)
    fence = make_fence()
    lock.acquire()
    fence()
    assert lock.locked() is False
    fence()
    assert lock.locked() is False


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
    words, fence = memory.words_of(memory.attach(fd)), make_fence()
    answered = select.poll()
    answered.register(answer, select.POLLIN)
    fds = (fd, bell, answer)
    with subprocess.Popen([sys.executable, "-c", _SLEEPER, *map(str, (*fds, rounds))], pass_fds=fds) as sleeper:
        rung = 0
        for number in range(1, rounds + 1):
            words[0] = number
            fence()
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
