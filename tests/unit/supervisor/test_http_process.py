"""The process `arbd:http` is started again whenever it cannot be started, or ends, and nothing that it does reaches the
daemon. Pages of an author's metrics come to it in order, each once, also where the socket does not take them all, and
again to the next process. A process and a loop of fakes."""

from __future__ import annotations

import asyncio
import errno
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flow_support import HandLoop

from arbd.control import http_boot
from arbd.settings.table import from_constructor, resolve
from arbd.supervisor import http_process
from arbd.supervisor.http_process import HttpProcess


class FakeHttp:
    """A process that ends when it is killed, or is in the kernel's hands and does not."""

    pid = 4711

    def __init__(self, *, is_stuck: bool) -> None:
        self.returncode: int | None = None
        self.kills = 0
        self.is_stuck = is_stuck

    def kill(self) -> None:
        self.kills += 1
        if not self.is_stuck:
            self.returncode = -9

    def wait(self, timeout: float) -> int:
        if self.returncode is None:
            raise subprocess.TimeoutExpired("arbd:http", timeout)
        return self.returncode


class Rig:
    """The process of a daemon whose token is known, and what is made for it. ``errors``: what the next starts raise.
    ``room``: for so many pages; then the socket says ``error``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = HandLoop()
        self.errors: list[OSError] = []
        self.started: list[FakeHttp] = []
        self.environments: list[dict[str, str]] = []
        self.sockets: list[socket.socket] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.told: list[int] = []
        self.room = 1000
        self.error = errno.ETOOMANYREFS
        self.is_stuck = False
        self.now = 1000.0
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self.loop)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(http_boot, "start", self._start)
        monkeypatch.setattr(http_boot, "tell", self._tell)
        monkeypatch.setattr(http_process, "note", lambda _log, _level, event, **told: self.events.append((event, told)))
        settings = resolve([from_constructor({"hub.auth_token": "the-token"})]).settings
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.http = HttpProcess(self.listener, -1, lambda: settings)

    def _start(self, boot: Any, environment: dict[str, str], *_: Any) -> tuple[FakeHttp, socket.socket]:
        if self.errors:
            raise self.errors.pop(0)
        self.environments.append(environment)
        self.started.append(FakeHttp(is_stuck=self.is_stuck))
        ours, theirs = socket.socketpair()
        self.sockets += [ours, theirs]
        return self.started[-1], ours

    def _tell(self, _control: Any, message: http_boot.PageAdded, descriptors: tuple[int, ...]) -> None:
        if not self.room:
            raise OSError(self.error, "no room")
        self.room -= 1
        assert descriptors == (message.key + 100,)
        self.told.append(message.key)

    def add(self, *keys: int) -> None:
        for key in keys:
            self.http.add_page("author", key, key + 100)

    def next_in_s(self) -> float:
        """After what time it is started again."""
        (handle,) = self.loop.later
        return handle.at - self.loop.now

    def step(self) -> None:
        """Until it is started again."""
        seconds = self.next_in_s()
        self.now += seconds
        self.loop.step(seconds)

    def ends(self) -> None:
        """Its end of the stream is closed."""
        self.http._on_end()

    def close(self) -> None:
        self.http.close()
        for each in self.sockets:
            each.close()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    rig = Rig(monkeypatch)
    yield rig
    rig.close()


def test_one_that_cannot_be_started_is_tried_again(rig: Rig) -> None:
    rig.errors = [OSError(errno.EAGAIN, "no process"), OSError(errno.EMFILE, "no descriptor")]
    rig.http.start()
    assert (rig.http.pid, [event for event, _ in rig.events]) == (0, ["http_not_started"])
    rig.step()
    rig.step()
    assert (rig.http.pid, [event for event, _ in rig.events]) == (4711, ["http_not_started"] * 2)


def test_one_that_is_killed_over_and_over_is_back_within_seconds(rig: Rig) -> None:
    rig.http.start()
    pauses_s = []
    for _ in range(20):
        rig.started[-1].returncode = -9
        rig.ends()
        pauses_s.append(round(rig.next_in_s(), 3))
        rig.step()
    assert pauses_s[0] < 0.5
    assert pauses_s == sorted(pauses_s)
    assert max(pauses_s) <= 5
    assert len(rig.started) == 21
    assert rig.events[-1] == ("http_lost", {"status": -9, "hint": "it is started again"})


def test_one_that_has_served_for_long_is_started_again_at_once(rig: Rig) -> None:
    rig.http.start()
    for _ in range(10):
        rig.ends()
        rig.step()
    rig.now += 31
    rig.ends()
    assert rig.next_in_s() < 0.5


def test_one_that_does_not_die_holds_nothing_up(rig: Rig) -> None:
    rig.is_stuck = True
    rig.http.start()
    rig.ends()
    rig.is_stuck = False
    rig.step()
    assert rig.http.pid == 4711
    assert rig.started[0].returncode is None


def test_nothing_is_started_after_the_end(rig: Rig) -> None:
    rig.http.start()
    rig.ends()
    rig.http.close()
    assert rig.loop.later == []
    assert rig.listener.fileno() == -1
    rig.http.close()


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ECONNRESET])
def test_one_that_has_just_ended_is_not_told_and_not_killed_for_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "it has ended")

    rig.http.start()
    monkeypatch.setattr(http_boot, "tell", fail)
    rig.http.add_page("author", 0, -1)
    rig.http.remove_page("author", 0)
    rig.http.remove_page("author", 0)
    assert rig.started[0].returncode is None


def test_it_has_neither_the_token_nor_a_way_to_tell_systemd(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_AUTH_TOKEN", "the-token-of-before")
    monkeypatch.setenv("SOMETHING", "with the-token in it")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    rig.http.start()
    assert "NOTIFY_SOCKET" not in rig.environments[0]
    assert not [value for value in rig.environments[0].values() if "the-token" in value]


# -- pages -----------------------------------------------------------------------------------------------------------


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
    assert rig.started[0].kills == 0


def test_the_next_process_is_told_of_all(rig: Rig) -> None:
    rig.room = 1
    rig.add(0, 1)
    rig.http.start()
    rig.ends()
    rig.told.clear()
    rig.room = 100
    rig.loop.step(60)
    assert rig.told == [0, 1]
    assert len(rig.started) == 2


def test_one_that_cannot_be_told_at_all_is_replaced(rig: Rig) -> None:
    rig.http.start()
    rig.room, rig.error = 0, errno.EBADF
    rig.add(0)
    assert rig.started[0].kills == 1
