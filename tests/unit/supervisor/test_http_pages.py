"""Pages of an author's metrics come to `arbd:http` in order, each once, also where the socket does not take them all,
and again to the next process."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from flow_support import HandLoop

from arbd.control import http_boot
from arbd.settings.table import resolve
from arbd.supervisor.http_process import HttpProcess


class FakeProcess:
    """One that is never there."""

    returncode = None

    def __init__(self) -> None:
        self.kills = 0

    def kill(self) -> None:
        self.kills += 1

    def wait(self, _timeout: float) -> int:
        return 0


class Rig:
    """The process, and a socket with room for so many pages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = HandLoop()
        self.told: list[int] = []
        self.room = 1000
        self.error = errno.ETOOMANYREFS
        self.processes: list[FakeProcess] = []
        self.sockets: list[socket.socket] = []
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self.loop)
        monkeypatch.setattr(http_boot, "start", self._start)
        monkeypatch.setattr(http_boot, "tell", self._tell)
        settings = resolve([]).settings
        self.http = HttpProcess(socket.create_server(("127.0.0.1", 0)), -1, lambda: settings)

    def _start(self, *_: Any) -> tuple[FakeProcess, socket.socket]:
        self.processes.append(FakeProcess())
        ours, theirs = socket.socketpair()
        self.sockets += [ours, theirs]
        return self.processes[-1], ours

    def _tell(self, _control: Any, message: http_boot.PageAdded, descriptors: tuple[int, ...]) -> None:
        if not self.room:
            raise OSError(self.error, "no room")
        self.room -= 1
        assert descriptors == (message.key + 100,)
        self.told.append(message.key)

    def add(self, *keys: int) -> None:
        for key in keys:
            self.http.add_page("author", key, key + 100)

    def close(self) -> None:
        self.http.close()
        for each in self.sockets:
            each.close()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    rig = Rig(monkeypatch)
    yield rig
    rig.close()


def test_pages_of_before_and_after_its_start_are_told_in_order(rig: Rig) -> None:
    rig.add(0, 1)
    rig.http.start()
    rig.add(2)
    assert rig.told == [0, 1, 2]


def test_what_the_socket_does_not_take_is_told_when_it_does(rig: Rig) -> None:
    rig.room = 2
    rig.add(*range(4))
    rig.http.start()
    rig.add(4)
    assert rig.told == [0, 1]
    rig.loop.step(1)
    assert rig.told == [0, 1]
    rig.room = 100
    rig.loop.step(1)
    rig.add(5)
    assert rig.told == [0, 1, 2, 3, 4, 5]
    assert rig.processes[0].kills == 0


def test_the_next_process_is_told_of_all(rig: Rig) -> None:
    rig.room = 1
    rig.add(0, 1)
    rig.http.start()
    rig.http._on_end()
    rig.told.clear()
    rig.room = 100
    rig.loop.step(60)
    assert rig.told == [0, 1]
    assert len(rig.processes) == 2


def test_one_that_cannot_be_told_at_all_is_replaced(rig: Rig) -> None:
    rig.http.start()
    rig.room, rig.error = 0, errno.EBADF
    rig.add(0)
    assert rig.processes[0].kills == 1
