"""The soft timer raises at the deadline, once; never outside ``arm`` and ``disarm``, and never in what
must not be torn."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arbd.errors import TaskCancelled, TaskTimeout
from arbd.host.posix_timer import TIMER_SIGNAL
from arbd.host.procs import CANCEL_SIGNAL
from arbd.host.timing import ProcessTiming
from arbd.interrupts import uninterruptible
from arbd.worker.soft_timer import SoftTimer


@pytest.fixture
def timer() -> Iterator[SoftTimer]:
    before = {signum: signal.getsignal(signum) for signum in (TIMER_SIGNAL, CANCEL_SIGNAL)}
    timer = SoftTimer()
    assert timer.signum == TIMER_SIGNAL
    yield timer
    timer.disarm()
    for signum, handler in before.items():  # its timer may be set still: by default the signal ends the process
        signal.signal(signum, handler if signum != TIMER_SIGNAL else lambda *_: None)


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
    calls: list[float] = []
    monkeypatch.setattr(timer._alarm, "set", calls.append)
    for _ in range(1000):
        timer.arm(time.monotonic() + 30)
        timer.disarm()
    assert len(calls) == 1


@uninterruptible
def not_to_be_torn(until: float, steps: list[str], wait: Callable[[], None] = lambda: None) -> None:
    steps.append("begun")
    spin_until(until)
    try:
        wait()
    finally:
        spin_until(time.monotonic() + 0.005)
        steps.append("ended")


def spin_after(moment: float, first: Callable[[], object]) -> None:
    first()
    spin_until(moment)


def test_it_does_not_raise_in_uninterruptible_code_but_right_after(timer: SoftTimer) -> None:
    begin = time.monotonic()
    steps: list[str] = []
    timer.arm(begin + 0.01)
    with pytest.raises(TaskTimeout):
        spin_after(begin + 5, lambda: not_to_be_torn(begin + 0.05, steps))
    assert steps == ["begun", "ended"]
    assert 0.05 <= time.monotonic() - begin < 0.05 + LATE_S


def test_it_raises_in_the_waits_of_uninterruptible_code(timer: SoftTimer) -> None:
    begin = time.monotonic()
    steps: list[str] = []
    timer.arm(begin + 0.01)
    with pytest.raises(TaskTimeout):
        not_to_be_torn(begin, steps, lambda: ProcessTiming().sleep(5_000_000_000))
    assert steps == ["begun", "ended"]
    assert time.monotonic() - begin < LATE_S


def test_what_must_not_be_torn_may_end_after_the_task(timer: SoftTimer) -> None:
    begin = time.monotonic()
    timer.arm(begin + 0.01)
    not_to_be_torn(begin + 0.02, [])
    timer.disarm()
    spin_until(time.monotonic() + 0.01)
    assert raised_after(timer, 0.01) < LATE_S


def test_a_cancel_waits_for_a_place_where_it_may_be_raised(timer: SoftTimer) -> None:
    begin = time.monotonic()
    steps: list[str] = []
    cancelled = SoftTimer({7}.__contains__)
    cancelled.arm(begin + 60, seq=7)
    killer = threading.Timer(0.01, lambda: os.kill(os.getpid(), CANCEL_SIGNAL))
    killer.start()
    with pytest.raises(TaskCancelled):
        spin_after(begin + 5, lambda: not_to_be_torn(begin + 0.05, steps))
    killer.join()
    assert steps == ["begun", "ended"]
    assert time.monotonic() - begin < 0.05 + LATE_S


def test_another_thread_that_must_not_be_torn_does_not_hold_it_up(timer: SoftTimer) -> None:
    done = threading.Event()
    thread = threading.Thread(target=uninterruptible(lambda: done.wait(10)))
    thread.start()
    try:
        assert raised_after(timer, 0.01) < LATE_S
    finally:
        done.set()
        thread.join()


def test_it_does_not_touch_the_timer_and_the_signal_of_the_author(
    timer: SoftTimer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGALRM)
    monkeypatch.delattr(signal, "setitimer")
    assert raised_after(timer, 0.01) < LATE_S
    assert signal.getsignal(signal.SIGALRM) is before


def test_it_does_not_raise_while_a_module_is_imported(timer: SoftTimer, tmp_path: Path) -> None:
    """It would be left half loaded; it comes again when the import is over."""
    (tmp_path / "slowly_imported.py").write_text(
        "import time\nend = time.monotonic() + 0.05\nwhile time.monotonic() < end: pass\nis_whole = True\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        timer.arm(time.monotonic() + 0.01)
        with pytest.raises(TaskTimeout):
            spin_after(time.monotonic() + 5, lambda: importlib.import_module("slowly_imported"))
    finally:
        timer.disarm()
        sys.path.remove(str(tmp_path))
        module = sys.modules.pop("slowly_imported")
    assert module.is_whole


def test_where_the_kernel_has_no_such_timer_it_is_the_one_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_to_be_had() -> None:
        raise OSError("forbidden")

    monkeypatch.setattr("arbd.host.posix_timer.ThreadTimer", none_to_be_had)
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGALRM, CANCEL_SIGNAL)}
    try:
        timer = SoftTimer()
        assert timer.signum == signal.SIGALRM
        assert raised_after(timer, 0.01) < LATE_S
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for signum, handler in before.items():
            signal.signal(signum, handler)


def test_whom_it_tells_what_struck() -> None:
    struck: list[str] = []
    before = {signum: signal.getsignal(signum) for signum in (TIMER_SIGNAL, CANCEL_SIGNAL)}
    timer = SoftTimer(on_strike=struck.append)
    try:
        raised_after(timer, 0.01)
        timer.arm(time.monotonic() + 60)
        timer.disarm()
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler if signum != TIMER_SIGNAL else lambda *_: None)
    assert struck == ["interrupted"]
