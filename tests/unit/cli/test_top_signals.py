"""A signal is noted and wakes whoever waits; what was ignored stays so, and afterwards all is as it was."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator

import pytest

from arbd.cli.top.signals import ENDING, Signals

ALL = [*sorted(ENDING), signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT]


@pytest.fixture(autouse=True)
def nothing_changes() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in ALL}
    yield
    assert {signum: signal.getsignal(signum) for signum in ALL} == before
    assert signal.set_wakeup_fd(-1) == -1


def is_awake(signals: Signals) -> bool:
    return bool(select.select([signals.waker], [], [], 0)[0])


@pytest.mark.parametrize("signum", ALL)
def test_each_is_noted_once_and_wakes(signum: signal.Signals) -> None:
    with Signals() as signals:
        assert not is_awake(signals)
        signal.raise_signal(signum)
        assert is_awake(signals)
        assert signals.take() == [signum]
        assert signals.take() == []
        assert not is_awake(signals)


def test_a_thread_may_wake_as_well_however_often_and_however_late() -> None:
    with Signals() as signals:
        for _ in range(100_000):  # more than a pipe takes
            signals.ring()
        assert is_awake(signals)
        assert signals.take() == []
        assert not is_awake(signals)
    signals.ring()


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGTSTP, signal.SIGINT])
def test_one_that_is_ignored_stays_so(signum: signal.Signals) -> None:
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        with Signals() as signals:
            signal.raise_signal(signum)
            assert signals.take() == []
        assert signal.getsignal(signum) == signal.SIG_IGN
    finally:
        signal.signal(signum, before)


def test_an_end_by_an_error_puts_everything_back_and_leaves_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ZeroDivisionError), Signals():
        raise ZeroDivisionError
    assert os.listdir("/proc/self/fd") == before
