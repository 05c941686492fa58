"""Handlers and timers of foreign code are out of the way, and its handlers can be put back."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from arbd.host import dispositions


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    signals = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGALRM, signal.SIGPIPE)
    before = {signum: signal.getsignal(signum) for signum in signals}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    dispositions.stop_timers()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for signum, handler in before.items():
        signal.signal(signum, handler)


def strike(*_: object) -> None:
    raise RuntimeError("struck")


def test_handlers_do_nothing_until_they_are_put_back() -> None:
    signal.signal(signal.SIGUSR1, strike)
    found = dispositions.set_aside()
    assert found[signal.SIGUSR1] is strike
    signal.raise_signal(signal.SIGUSR1)
    dispositions.put_back(found)
    with pytest.raises(RuntimeError, match="struck"):
        signal.raise_signal(signal.SIGUSR1)


def test_those_for_good_are_not_told() -> None:
    signal.signal(signal.SIGTERM, strike)
    assert signal.SIGTERM not in dispositions.set_aside(for_good=[signal.SIGTERM])
    assert signal.getsignal(signal.SIGTERM) is dispositions.ignored


@pytest.mark.parametrize("other", [signal.SIG_DFL, signal.SIG_IGN])
def test_what_is_no_handler_stays(other: signal.Handlers) -> None:
    signal.signal(signal.SIGUSR2, other)
    found = dispositions.set_aside()
    assert (signal.SIGUSR2 in found, signal.getsignal(signal.SIGUSR2)) == (False, other)


def test_its_own_is_nobody_s() -> None:
    signal.signal(signal.SIGUSR1, dispositions.ignored)
    assert signal.SIGUSR1 not in dispositions.set_aside()


def test_timers_stop() -> None:
    signal.signal(signal.SIGALRM, strike)
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 100)
    dispositions.stop_timers()
    assert [signal.getitimer(timer)[0] for timer in (0, 1, 2)] == [0.0, 0.0, 0.0]
    assert signal.getsignal(signal.SIGALRM) is strike


def test_a_signal_that_has_come_and_is_blocked_never_strikes() -> None:
    signal.signal(signal.SIGUSR1, strike)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    signal.raise_signal(signal.SIGUSR1)
    dispositions.stop_timers()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    assert signal.getsignal(signal.SIGUSR1) is strike


def test_a_wakeup_descriptor_is_given_up() -> None:
    dispositions.set_aside()
    assert signal.set_wakeup_fd(-1) == -1
