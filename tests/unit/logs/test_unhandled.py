"""Hooks for what nobody handles: one report each, with the task that it belongs to."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from arbd.logs import tasks
from arbd.logs.unhandled import install, loop_handler


class Reports:
    def __init__(self) -> None:
        self.made: list[tuple[str, BaseException | None, Any, dict[str, str]]] = []

    def listen(self) -> None:
        """Not in the fixture: pytest has hooks of its own while a test runs."""
        install(self)

    def __call__(self, what: str, exc: BaseException | None, task: Any, **fields: str) -> None:
        self.made.append((what, exc, task, fields))


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reports]:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(tasks, "_task", ("1", "a", "", 1))
    yield Reports()
    tasks._bound.set(None)


def test_a_thread(reports: Reports) -> None:
    def fail(exc: BaseException) -> None:
        raise exc

    reports.listen()
    error = ValueError("no")
    for exc in (error, SystemExit(3)):
        thread = threading.Thread(target=fail, args=(exc,), name="mine")
        thread.start()
        thread.join()
    assert reports.made == [("thread failed", error, None, {"thread": "mine"})]  # its start was not remembered


def test_what_cannot_be_raised(reports: Reports) -> None:
    reports.listen()

    class Broken:
        def __del__(self) -> None:
            raise ValueError("no")

    Broken()
    [(what, exc, task, fields)] = reports.made
    assert (what, str(exc), task) == ("exception ignored", "no", ("1", "a", "", 1))
    assert fields["where"].endswith("Broken.__del__")


class Failed:
    """A task of an event loop, as from Python 3.12 on."""

    def __init__(self, context: contextvars.Context) -> None:
        self._context = context

    def get_context(self) -> contextvars.Context:
        return self._context

    def get_coro(self) -> Any:
        return fail_later


async def fail_later() -> None: ...


def test_a_loop(reports: Reports) -> None:
    handle = loop_handler(reports)
    loop = asyncio.new_event_loop()
    error = ValueError("no")
    tasks.bind_task()
    bound = contextvars.copy_context()
    tasks._bound.set(None)
    handle(loop, {"message": "never retrieved", "exception": error, "future": Failed(bound)})
    handle(loop, {"message": "in a callback", "exception": error, "handle": object()})
    handle(loop, {})
    loop.close()
    assert reports.made == [
        ("never retrieved", error, ("1", "a", "", 1), {"where": "fail_later"}),
        ("in a callback", error, None, {"where": "object"}),
        ("", None, None, {"where": ""}),
    ]
