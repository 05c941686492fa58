"""A link process without a descriptor for a large result looks again in a while, with one timer whatever rings it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from arbd.host import doorbell, parcels
from arbd.links.processes import listener
from arbd.links.processes.listener import Listener


class Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """Timers that the test calls by hand; ``reports`` of figures are no part of it."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []
        self.on_bell: Callable[[], None]

    def add_reader(self, _: int, callback: Callable[[], None]) -> None:
        self.on_bell = callback

    def remove_reader(self, _: int) -> None: ...

    def call_soon(self, callback: Callable[[], None]) -> Timer:
        return Timer(callback)

    def call_later(self, _: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(callback))
        return self.timers[-1]


class Incoming:
    """Results whose first one is large, and for which there is no descriptor."""

    looks = 0

    def __init__(self, *_: Any) -> None: ...

    def take(self, _: Any) -> int:
        Incoming.looks += 1
        raise parcels.NotNow(24, "none")


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    monkeypatch.setattr(listener, "Incoming", Incoming)
    monkeypatch.setattr(listener, "make_fence", lambda: lambda: None)
    monkeypatch.setattr(doorbell, "wait", lambda _: None)
    return loop


def made() -> Listener:
    def ignore(*_: Any) -> None: ...

    cell: Any = SimpleNamespace(
        down=None, is_held=False, stop_number=0, is_flushing=False, allowed=0, sleep=ignore, ring_above=ignore
    )
    port: Any = SimpleNamespace(outbox=[], flush_soon=ignore)
    link: Any = SimpleNamespace(results_ready=ignore, slots_changed=ignore)
    side: Any = None
    return Listener(cell, -1, side, port, link)


def test_one_timer_however_often_it_looks(loop: Loop) -> None:
    made()
    for _ in range(5):
        loop.on_bell()
    assert len(loop.timers) == 1
    for _ in range(5):
        [timer], loop.timers = loop.timers, []
        timer.callback()
    assert len(loop.timers) == 1


def test_it_looks_no_more_once_it_is_closed(loop: Loop) -> None:
    made().close()
    assert [timer.is_cancelled for timer in loop.timers] == [True]
