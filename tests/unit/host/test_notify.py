"""A notification is one datagram to the socket that the environment names, and the name is the supervisor's alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbd.host.notify import Notifier


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.settimeout(5)
        yield end


def test_what_is_told_is_one_datagram(systemd: socket.socket) -> None:
    notifier = Notifier(systemd.getsockname())
    notifier.ready()
    notifier.status("serving: 3 tasks/s,\n  7 of 8\tbusy")
    notifier.extend_timeout(1.5)
    notifier.ping()
    notifier.stopping()
    told = [systemd.recv(4096).decode() for _ in range(5)]
    assert told == [
        "READY=1",
        "STATUS=serving: 3 tasks/s, 7 of 8 busy",
        "EXTEND_TIMEOUT_USEC=1500000",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_no_text_can_smuggle_in_another_assignment(systemd: socket.socket) -> None:
    Notifier(systemd.getsockname()).status("a\nWATCHDOG=1\rREADY=1")
    assert systemd.recv(4096).decode() == "STATUS=a WATCHDOG=1 READY=1"


def test_no_text_controls_the_terminal_of_who_asks(systemd: socket.socket) -> None:
    Notifier(systemd.getsockname()).status("a\x1b]0;pwned\x07\x9b\u202e\ud800")
    assert systemd.recv(4096).decode() == "STATUS=a\\x1b]0;pwned\\x07\\x9b\\u202e\\ud800"


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0arbd-test-{os.getpid()}")
        end.settimeout(5)
        Notifier(f"@arbd-test-{os.getpid()}").ready()
        assert end.recv(64) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "relative"])
def test_where_nobody_listens_nothing_happens(address: str) -> None:
    Notifier(address).ready()


def test_a_listener_that_does_not_read_blocks_nobody(systemd: socket.socket) -> None:
    notifier = Notifier(systemd.getsockname())
    for _ in range(2000):
        notifier.ping()


@pytest.mark.parametrize(
    ("usec", "pid", "watchdog_s"),
    [
        ("2000000", "", 2.0),
        pytest.param("2000000", str(os.getpid()), 2.0, id="its own"),  # the same name in every process of xdist
        ("2000000", "1", None),  # somebody else's
        ("0", "", None),
        ("-5", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_the_environment_is_read_once_and_nothing_of_it_is_left(usec: str, pid: str, watchdog_s: float | None) -> None:
    environ = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid, "HOME": "/"}
    notifier = Notifier.taken_from(environ)
    assert (bool(notifier), notifier.watchdog_s) == (True, watchdog_s)
    assert environ == {"HOME": "/"}
    assert not Notifier.taken_from(environ)


def test_it_is_removed_from_the_environment_of_others() -> None:
    environ = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    Notifier.remove_from(environ)
    assert environ == {"HOME": "/"}
