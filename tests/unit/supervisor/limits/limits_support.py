"""The supervisor's limits without processes and waiting: a loop whose clock is stepped, workers that are words."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from arbd.host import doorbell
from arbd.ipc import layout
from arbd.model.description import ActionInfo, Description
from arbd.model.limit_spec import LimitSpec
from arbd.rate_limit.grants.live import WorkerLive

SECOND = 1_000_000_000


class Boom(Exception):
    """Something that nobody expected."""


class Timer:
    """What ``call_later`` gives."""

    def __init__(self, at_ns: int, callback: Callable[[], object]) -> None:
        self.at_ns = at_ns
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class HandLoop:
    """What the limits need of an event loop. It turns when it is told to."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND
        self.timers: list[Timer] = []
        self.readers: dict[int, Callable[[], object]] = {}
        self.reported: list[BaseException] = []

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        timer = Timer(self.now_ns + round(delay * 1e9), lambda: callback(*arguments))
        self.timers.append(timer)
        return timer

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        self.readers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        del self.readers[fd]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.reported.append(context["exception"])

    @property
    def next_ns(self) -> int | None:
        """When the next timer goes off."""
        return min((timer.at_ns for timer in self.timers if not timer.is_cancelled), default=None)

    def turn(self, length_ns: int = 0) -> None:
        """Let so much time pass, and call what is due meanwhile."""
        end_ns = self.now_ns + length_ns
        for fd, callback in list(self.readers.items()):
            if has_rung(fd):
                doorbell.ring(fd)
                callback()
        while (at_ns := self.next_ns) is not None and at_ns <= end_ns:
            self.now_ns = max(self.now_ns, at_ns)
            due = [timer for timer in self.timers if not timer.is_cancelled and timer.at_ns <= self.now_ns]
            self.timers = [timer for timer in self.timers if not timer.is_cancelled and timer.at_ns > self.now_ns]
            for timer in due:
                timer.callback()
        self.now_ns = end_ns


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> HandLoop:
    loop = HandLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    monkeypatch.setattr(time, "monotonic_ns", lambda: loop.now_ns)
    return loop


def has_rung(bell: int) -> bool:
    """Whether a bell that does not block was rung; it is silent afterwards."""
    return doorbell.clear(bell)


class Seat:
    """A worker's side of one seat, word by word."""

    def __init__(self, words: memoryview) -> None:
        self.words = words

    def ask(self, until_ns: int = 0, need: int = 1) -> None:
        self.words[layout.UNTIL_NS] = until_ns
        self.words[layout.NEED] = need
        self.words[layout.ASKED] += 1

    @property
    def is_answered(self) -> bool:
        return bool(self.words[layout.ANSWERED] == self.words[layout.ASKED])

    @property
    def granted(self) -> int:
        return int(self.words[layout.GRANTED])

    @property
    def next_at_ns(self) -> int:
        return int(self.words[layout.NEXT_AT_NS])

    def start(self, now_ns: int) -> None:
        """Use what was granted."""
        self.words[layout.NEED] = 0
        self.words[layout.LAST_START_NS] = now_ns
        self.words[layout.SPENT] += 1


class Memory:
    """What one worker shares with the limits: its ledger and its bells."""

    def __init__(self, description: Description) -> None:
        limits, actions = len(description.limits), len(description.actions)
        self.words = memoryview(bytearray(layout.ledger_bytes(limits, actions))).cast("Q")
        self.bell = doorbell.create(blocking=False)
        self.wake = doorbell.create(blocking=False)
        self.live = WorkerLive(self.words[len(self.words) - layout.LIVE_WORDS :])

    def seat(self, number: int) -> Seat:
        at = number * layout.SEAT_WORDS
        return Seat(self.words[at : at + layout.SEAT_WORDS])

    def close(self) -> None:
        os.close(self.bell)
        os.close(self.wake)


def a_description(*limits: LimitSpec, actions: int = 1) -> Description:
    """A provider with these limits, and actions called a0, a1, …"""
    infos = [ActionInfo(f"a{number}", "", None, {}, None, "", False) for number in range(actions)]
    return Description({}, infos, list(limits))


@pytest.fixture
def memories() -> Iterator[Callable[[Description], Memory]]:
    made: list[Memory] = []

    def make(description: Description) -> Memory:
        made.append(Memory(description))
        return made[-1]

    yield make
    for memory in made:
        memory.close()


class LogBook:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def _add(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    info = warning = error = _add

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.lines if name == event]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> LogBook:
    log = LogBook()
    for module in ("limits", "accounts", "put_off", "host_file"):
        monkeypatch.setattr(f"arbd.supervisor.limits.{module}.get_logger", lambda name: log)
    return log
