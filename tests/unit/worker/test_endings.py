"""Event loop, threads and ``atexit`` of a worker come to their end within the time they are given."""

from __future__ import annotations

import asyncio
import atexit
import json
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from arbd.worker import endings, inherited

uvloop.new_event_loop().close()  # libuv keeps a pipe for signals, opened with a process's first loop

NOW = 0.0  # a moment that has passed


@pytest.fixture(autouse=True)
def no_executors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this process are not told that it ends."""
    monkeypatch.setattr(threading, "_threading_atexits", [])


def later() -> float:
    return time.monotonic() + 30


def test_no_loop_and_a_closed_one_are_nothing() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    endings.shut_down(None, later())
    endings.shut_down(loop, later())


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_tasks_are_cancelled_and_generators_closed(make: Any) -> None:
    said: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            said.append("cancelled")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            said.append("closed")

    async def first() -> int:
        return await anext(generator)

    loop = make()
    generator = numbers()
    task = loop.create_task(forever())
    loop.run_until_complete(first())
    endings.shut_down(loop, later())
    assert (said, task.cancelled(), loop.is_closed()) == (["cancelled", "closed"], True, True)


def test_one_that_does_not_hear_is_not_waited_for() -> None:
    async def deaf() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # that a pending task was destroyed
    task = loop.create_task(deaf())
    endings.shut_down(loop, NOW)
    assert (loop.is_closed(), task.done()) == (True, False)


def test_what_a_task_raises_when_it_is_cancelled_is_told_of() -> None:
    async def fails() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("lost")

    told: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    task = loop.create_task(fails())
    endings.shut_down(loop, later())
    assert task.done()
    assert [str(each) for each in told] == ["lost"]


def test_threads_are_joined_and_daemons_are_not() -> None:
    go, stay = threading.Event(), threading.Event()
    daemon = threading.Thread(target=stay.wait, daemon=True)
    waited = threading.Thread(target=go.wait)
    daemon.start()
    waited.start()
    threading.Timer(0.01, go.set).start()
    endings.join_threads(later())
    assert (waited.is_alive(), daemon.is_alive()) == (False, True)
    stay.set()
    daemon.join()


def test_those_that_go_on_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    stay = threading.Event()
    stuck = threading.Thread(target=stay.wait, name="stuck")
    stuck.start()
    endings.join_threads(NOW)
    stay.set()
    stuck.join()
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["threads"]) == ("threads_left", ["stuck"])


def test_executors_are_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their threads wait for work; in a process that ends, ``concurrent.futures`` tells them."""
    pool = ThreadPoolExecutor(2)
    pool.submit(int).result()
    monkeypatch.setattr(threading, "_threading_atexits", [lambda: pool.shutdown(wait=False)])
    endings.join_threads(later())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_exit_functions_run_when_what_is_the_zygote_s_is_disowned(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(inherited, "disown", lambda: said.append("disown"))
    monkeypatch.setattr(atexit, "_run_exitfuncs", lambda: said.append("run"))
    endings.run_exit_functions(later())
    assert said == ["disown", "run"]


class Child:
    """A process of ``multiprocessing`` that ends when it is told to so often."""

    def __init__(self, *, told: int, daemon: bool = False) -> None:
        self.name = f"Child-{told}"
        self.daemon = daemon
        self.signals: list[str] = []
        self._told = told

    @property
    def is_alive(self) -> bool:
        return len(self.signals) < self._told

    def join(self, seconds: float) -> None:
        assert 0 <= seconds <= endings._PROCESS_GRACE_S

    def terminate(self) -> None:
        self.signals.append("SIGTERM")

    def kill(self) -> None:
        self.signals.append("SIGKILL")


@pytest.mark.parametrize(("told", "signals"), [(0, []), (1, ["SIGTERM"]), (2, ["SIGTERM", "SIGKILL"])])
def test_processes_are_told_to_end_and_never_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, told: int, signals: list[str]
) -> None:
    child, daemonic = Child(told=told), Child(told=1, daemon=True)
    module = SimpleNamespace(active_children=lambda: [each for each in (child, daemonic) if each.is_alive])
    monkeypatch.setitem(sys.modules, "multiprocessing.process", module)
    endings.end_processes(later())
    assert child.signals == signals
    assert daemonic.signals == [], "multiprocessing terminates those"
