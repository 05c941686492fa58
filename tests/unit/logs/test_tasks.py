"""Whose a line is: the task that runs, the one that a coroutine is bound to, the one that a thread was started for, or
nobody's. Threads are waited for; nothing sleeps."""

from __future__ import annotations

import asyncio
import contextvars
import io
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from arbd.logs import tasks
from arbd.logs.tasks import TaskTuple

ONE, TWO = ("1", "a", "", 1), ("2", "b", "", 1)


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("_task", "_left", "_at_begin", "_at_end", "_stdout", "_stderr"):
        monkeypatch.setattr(tasks, name, getattr(tasks, name))
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    tasks.remember_starts()
    yield
    tasks._bound.set(None)


class Asking:
    """A thread that says whose it is, whenever it is asked."""

    def __init__(self, make: Callable[..., threading.Thread] = threading.Thread) -> None:
        self._ask, self._told = threading.Semaphore(0), threading.Semaphore(0)
        self._goes_on = True
        self.thread = make(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while self._ask.acquire() and self._goes_on:
            self._owner = tasks.current_task()
            self._told.release()

    def owner(self) -> TaskTuple | None:
        self._ask.release()
        self._told.acquire()
        return self._owner

    def end(self) -> None:
        self._goes_on = False
        self._ask.release()
        self.thread.join()


def test_the_main_thread() -> None:
    assert tasks.current_task() is None
    tasks.enter_task(*ONE)
    assert tasks.current_task() == ONE
    tasks.leave_task()
    assert tasks.current_task() is None


def test_a_line_after_a_task_names_the_one_that_was_left() -> None:
    tasks._left = None
    assert tasks.left_task_fields("a") == {"action": "a"}
    tasks.enter_task(*ONE)
    tasks.leave_task()
    assert tasks.left_task_fields("a") == {"task_id": "1", "action": "a", "attempt": 1}
    assert tasks.left_task_fields("b") == {"action": "b"}, "of another action: nobody knows which"


def test_a_thread_has_the_task_it_was_started_in_while_that_runs() -> None:
    before = Asking()
    tasks.enter_task(*ONE)
    thread = Asking()
    assert (thread.owner(), before.owner()) == (ONE, None)
    tasks.leave_task()
    assert thread.owner() is None
    tasks.enter_task(*TWO)
    assert (thread.owner(), before.owner()) == (None, None)
    tasks.leave_task()
    tasks.enter_task(*ONE)  # one that comes again is another run
    assert thread.owner() is None
    for asking in (before, thread):
        asking.end()


def test_a_thread_of_a_thread() -> None:
    tasks.enter_task(*ONE)
    found: list[Asking] = []
    outer = threading.Thread(target=lambda: found.append(Asking()))
    outer.start()
    outer.join()
    assert found[0].owner() == ONE
    tasks.leave_task()
    tasks.enter_task(*TWO)
    assert found[0].owner() is None
    found[0].end()


def test_what_is_bound_keeps_its_task() -> None:
    tasks.enter_task(*ONE)
    tasks.bind_task()
    context = contextvars.copy_context()
    tasks._bound.set(None)
    tasks.leave_task()
    tasks.enter_task(*TWO)
    assert context.run(tasks.current_task) == ONE
    assert tasks.bound_task(context) == ONE
    assert tasks.bound_task(contextvars.copy_context()) is None
    assert tasks.current_task() == TWO


def test_a_coroutine_and_what_it_hands_to_a_thread() -> None:
    async def ask() -> list[TaskTuple | None]:
        return [tasks.current_task(), await asyncio.to_thread(tasks.current_task)]

    async def bound() -> list[TaskTuple | None]:
        tasks.enter_task(*ONE)
        tasks.bind_task()
        task = asyncio.ensure_future(ask())
        tasks._bound.set(None)
        tasks.leave_task()
        tasks.enter_task(*TWO)
        return await task

    assert asyncio.run(bound()) == [ONE, ONE]


def test_whether_a_thread_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    others = sys._current_frames().keys() - {threading.get_ident()}  # of whoever runs the tests
    current_frames = sys._current_frames
    monkeypatch.setattr(
        sys, "_current_frames", lambda: {key: frame for key, frame in current_frames().items() if key not in others}
    )
    tasks.enter_task(*ONE)
    assert not tasks.is_any_thread_busy()
    thread = Asking()
    thread.owner()
    assert tasks.is_any_thread_busy()
    assert not tasks.is_any_thread_busy(but_of=tasks.running_task())
    assert tasks.is_any_thread_busy(but_of=TWO)
    thread.end()


def test_what_is_asked_for_is_called_once_at_the_end() -> None:
    called: list[str | None] = []
    tasks.at_begin(lambda: called.append("begin"))

    def end() -> None:
        task = tasks.current_task()
        called.append(task and task[0])

    tasks.at_end(end)
    tasks.at_end(end)
    tasks.enter_task(*ONE)
    tasks.leave_task()
    tasks.at_begin(None)
    tasks.enter_task(*TWO)
    tasks.leave_task()
    assert called == ["begin", "1"]


def test_the_streams_of_the_next_task_are_those_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    tasks.keep_streams()
    for stand_in in (None, io.StringIO()):
        tasks.enter_task(*ONE)
        sys.stdout = sys.stderr = stand_in
        tasks.leave_task()
        assert (sys.stdout, sys.stderr) == (out, err)


def test_starts_are_remembered_once() -> None:
    start = threading.Thread.start
    tasks.remember_starts()
    assert threading.Thread.start is start
