"""The soft timer raises in the running code, at the deadline, once, and never outside ``arm`` and ``disarm``."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from arbd.errors import TaskTimeout
from arbd.host.procs import CANCEL_SIGNAL
from arbd.worker.soft_timer import SoftTimer


@pytest.fixture
def timer() -> Iterator[SoftTimer]:
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGALRM, CANCEL_SIGNAL)}
    yield SoftTimer()
    signal.setitimer(signal.ITIMER_REAL, 0)
    for signum, handler in before.items():
        signal.signal(signum, handler)


LATE_S = 0.5  # how late it may be when the machine stalls


def spin_until(moment: float) -> None:
    while time.monotonic() < moment:
        pass


def raised_after(timer: SoftTimer, timeout: float) -> float:
    """Seconds until it raised."""
    begin = time.monotonic()
    try:
        timer.arm(begin + timeout)
        spin_until(begin + 5)
    except TaskTimeout:
        return time.monotonic() - begin
    finally:
        timer.disarm()
    raise AssertionError("it did not raise")


@pytest.mark.parametrize("timeout", [0.001, 0.02, 0.1])
def test_it_raises_at_the_deadline(timer: SoftTimer, timeout: float) -> None:
    took = [raised_after(timer, timeout) for _ in range(5)]
    assert min(took) >= timeout
    assert min(took) < timeout + 0.05  # not all of five meet a stall


def test_a_deadline_that_has_passed_raises_at_once(timer: SoftTimer) -> None:
    assert raised_after(timer, -1) < LATE_S


def test_it_interrupts_a_system_call(timer: SoftTimer) -> None:
    begin = time.monotonic()
    timer.arm(begin + 0.02)
    with pytest.raises(TaskTimeout):
        time.sleep(5)
    assert time.monotonic() - begin < 1


def test_it_raises_once(timer: SoftTimer) -> None:
    raised_after(timer, 0.01)
    spin_until(time.monotonic() + 0.03)


def test_it_does_not_raise_after_disarm(timer: SoftTimer) -> None:
    """The alarm still goes off, because setting it anew for each task would cost two system calls; nobody is hit."""
    timer.arm(time.monotonic() + 0.01)
    timer.disarm()
    spin_until(time.monotonic() + 0.03)
    assert raised_after(timer, 0.01) < LATE_S


def test_an_alarm_of_an_earlier_task_is_carried_over_to_the_later_deadline(timer: SoftTimer) -> None:
    timer.arm(time.monotonic() + 0.02)
    timer.disarm()
    assert 0.06 <= raised_after(timer, 0.06) < LATE_S


def test_a_deadline_earlier_than_the_alarm_that_is_set_moves_it(timer: SoftTimer) -> None:
    timer.arm(time.monotonic() + 60)
    timer.disarm()
    assert raised_after(timer, 0.02) < LATE_S


def test_a_stream_of_short_tasks_sets_the_alarm_once_per_timeout(
    timer: SoftTimer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    setitimer = signal.setitimer

    def counted(which: int, seconds: float) -> tuple[float, float]:
        calls.append(seconds)
        return setitimer(which, seconds)

    monkeypatch.setattr(signal, "setitimer", counted)
    for _ in range(1000):
        timer.arm(time.monotonic() + 30)
        timer.disarm()
    assert len(calls) == 1
