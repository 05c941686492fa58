"""A signal without a meaning is logged and ignored; one that somebody has claimed is left as it is."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

from arbd.host import strays


class Log:
    """Remembers its lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def warning(self, event: str, **words: Any) -> None:
        self.lines.append({"event": event, **words})


def test_which_signals_they_are() -> None:
    found = set(strays.candidates())
    assert {signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGRTMIN, signal.SIGRTMAX} <= found
    used = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD, signal.SIGPIPE}
    told_by_the_kernel = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGXCPU}
    harmless = {signal.SIGCONT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH, signal.SIGURG}
    assert found.isdisjoint(used | told_by_the_kernel | harmless | {signal.SIGKILL, signal.SIGSTOP})


@pytest.mark.parametrize(
    ("status", "claimed"),
    [
        ("Name:\tx\nSigBlk:\tff\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000202\n", {13, 2, 10}),
        ("SigIgn:\t0\nSigCgt:\t8000000000000000\n", {64}),
        ("", set()),
    ],
)
def test_the_claimed_ones_in_the_kernel_s_text(status: str, claimed: set[int]) -> None:
    mask = strays.parse_claimed(status)
    assert {signum for signum in range(1, 65) if mask >> (signum - 1) & 1} == claimed


def test_a_signal_is_logged_once_a_second() -> None:
    log, now = Log(), [10.0]
    handle = strays._handler(log, lambda: now[0])
    for second in range(3):
        now[0] = 10.0 + second
        for _ in range(100):
            handle(signal.SIGUSR1, None)
        handle(signal.SIGRTMIN + 3, None)
    names = [line["signal"] for line in log.lines]
    assert names == ["SIGUSR1", "SIGRTMIN+3"] * 3
    assert {line["event"] for line in log.lines} == {"signal_ignored"}


RUN = """
import os, signal, subprocess, sys
from arbd.host import hangup, strays
class Log:
    def warning(self, event, **words): print(event, words["signal"], flush=True)
"""


def run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", RUN + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_ends_nobody_and_is_told() -> None:
    code = "strays.ignore(Log())\nfor s in (signal.SIGUSR1, signal.SIGALRM, signal.SIGRTMAX): os.kill(os.getpid(), s)"
    assert run(code) == ["signal_ignored SIGUSR1", "signal_ignored SIGALRM", "signal_ignored SIGRTMAX"]


def test_what_somebody_else_has_claimed_stays() -> None:
    code = """
import faulthandler
signal.signal(signal.SIGUSR1, lambda *_: print("theirs", flush=True))
signal.signal(signal.SIGALRM, signal.SIG_IGN)
faulthandler.register(signal.SIGUSR2, file=open(os.devnull, "w"))  # a handler that Python does not know of
installed = strays.ignore(Log())
print(signal.SIGUSR1 in installed, signal.SIGALRM in installed, signal.SIGUSR2 in installed, flush=True)
os.kill(os.getpid(), signal.SIGUSR1)
"""
    assert run(code) == ["False False False", "theirs"]


def test_what_did_nothing_during_the_start_is_logged_from_then_on() -> None:
    code = "hangup.survive(['run'])\nstrays.ignore(Log())\nos.kill(os.getpid(), signal.SIGUSR2)"
    assert run(code) == ["signal_ignored SIGUSR2"]


def test_what_is_started_does_not_inherit_it() -> None:
    code = """
installed = strays.ignore(Log())
child = subprocess.run([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGUSR1)"])
print(child.returncode == -signal.SIGUSR1)
strays.restore(installed)
print({signal.getsignal(signum) for signum in installed} == {signal.SIG_DFL})
"""
    assert run(code) == ["True", "True"]


def test_one_that_has_a_handler_is_claimed() -> None:
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert signal.SIGUSR2 not in strays.unclaimed()
        assert set(strays.unclaimed()) <= set(strays.candidates())
    finally:
        signal.signal(signal.SIGUSR2, before)
