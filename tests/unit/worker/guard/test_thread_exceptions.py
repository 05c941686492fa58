"""An exception that a thread raises in the main one strikes only in the task that has started the thread."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from arbd.host.fork_mark import EVERYBODY
from arbd.interrupts import uninterruptible
from arbd.logs import tasks
from arbd.worker.guard import thread_exceptions
from arbd.worker.guard.notices import NOTICES
from arbd.worker.guard.thread_exceptions import ThreadExceptions


class Late(Exception):
    """What a decorator raises."""


@pytest.fixture(autouse=True)
def in_a_task(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    tasks.remember_starts()
    thread_exceptions.install()
    NOTICES.arm(EVERYBODY)
    tasks.enter_task("1", "a")
    yield
    tasks.leave_task()
    NOTICES.disarm()
    NOTICES.changed.clear()


def strike(ident: Any = None, exception: Any = None) -> int:
    main = threading.main_thread().ident
    ident = ctypes.c_ulong(main or 0) if ident is None else ident
    given = ctypes.py_object(Late) if exception is None else exception
    found: int = ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, given)
    return found


def in_thread(function: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def wait_for(thread: threading.Thread) -> None:
    while thread.is_alive():
        time.sleep(0.001)


def test_one_of_the_task_that_runs_strikes() -> None:
    with pytest.raises(Late):
        wait_for(in_thread(strike))
    assert ThreadExceptions.name in NOTICES.changed


@pytest.mark.parametrize("ends", [True, False])
def test_one_of_another_task_is_refused(ends: bool) -> None:
    begin, found = threading.Event(), list[int]()
    thread = in_thread(lambda: found.append(strike() if begin.wait(5) else -1))
    tasks.leave_task()
    if not ends:
        tasks.enter_task("2", "b")
    begin.set()
    wait_for(thread)
    assert found == [0]
    assert ThreadExceptions.name not in NOTICES.changed


@uninterruptible
def test_arbd_s_own_code_is_not_struck() -> None:
    found = list[int]()
    wait_for(in_thread(lambda: found.append(strike())))
    assert found == [0]


def test_other_threads_may_be_struck() -> None:
    ended, begun = list[str](), threading.Event()

    def target() -> None:
        try:
            begun.set()
            while True:
                time.sleep(0.001)
        except Late:
            ended.append("struck")

    thread = in_thread(target)
    begun.wait(5)
    assert strike(thread.ident, Late) == 1, "without types of ctypes"
    wait_for(thread)
    assert ended == ["struck"]


@pytest.mark.parametrize("nothing", [ctypes.py_object(), 0, ctypes.c_long(0), ctypes.c_void_p()])
def test_a_pending_one_can_be_taken_back(nothing: Any) -> None:
    assert strike(threading.get_ident(), nothing) == 1
    assert ThreadExceptions().put_back() is None


def test_in_a_process_without_guard_everything_is_as_ever() -> None:
    NOTICES.disarm()
    tasks.leave_task()
    with pytest.raises(Late):
        wait_for(in_thread(strike))
