"""A link process without a descriptor for a large result looks again in a while, with one timer whatever rings it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from arbd.host import doorbell, parcels
from arbd.ipc import link_frame
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


class StoppingLink:
    """A link whose polls end when it is told; it notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.polls_ended = asyncio.Event()

    def results_ready(self) -> None: ...

    def slots_changed(self) -> None: ...

    async def stop_taking(self) -> None:
        self.asked.append("stop")
        await self.polls_ended.wait()

    def take_again(self) -> None:
        self.asked.append("again")


def test_a_stop_is_answered_by_its_number_unless_another_word_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The word may also be written twice before it was read: what counts is what stands there."""
    said: list[bytes] = []
    stats = SimpleNamespace(failures={})

    async def scenario() -> None:
        ears, link = made(), StoppingLink()
        everything: Any = ears
        everything._port = SimpleNamespace(outbox=[], say=said.append, report_figures=list, stats=stats)
        everything._link = link
        for number in (1, 1, 0, 2, 4):
            everything._cell.stop_number = number
            everything._obey()
            await asyncio.sleep(0)
        assert (link.asked, said) == (["stop", "again", "stop", "stop"], [])
        link.polls_ended.set()
        for _ in range(3):
            await asyncio.sleep(0)
        assert said == [link_frame.encode_stopped(4)]
        ears.close()

    class Quiet(asyncio.SelectorEventLoop):
        def add_reader(self, *_: Any) -> None: ...  # type: ignore[override] # there is no bell

        def remove_reader(self, *_: Any) -> bool:
            return False

    monkeypatch.setattr(listener, "Incoming", lambda *_: SimpleNamespace(take=lambda _: 0))
    monkeypatch.setattr(listener, "make_fence", lambda: lambda: None)
    loop = Quiet()
    reported: list[Any] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    try:
        loop.run_until_complete(scenario())
    finally:
        loop.close()
    assert reported == []


def test_it_looks_no_more_once_it_is_closed(loop: Loop) -> None:
    made().close()
    assert [timer.is_cancelled for timer in loop.timers] == [True]
