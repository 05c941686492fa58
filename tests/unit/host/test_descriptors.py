"""Every open descriptor is told with what it is, and a socket with whom it talks to; looking changes nothing."""

from __future__ import annotations

import os
import select
import socket
import tempfile
from pathlib import Path

import pytest

from arbd.host import descriptors, reserve
from arbd.host.descriptors import Descriptor


def found(number: int) -> Descriptor:
    [descriptor] = [each for each in descriptors.open_now() if each.number == number]
    return descriptor


def test_kinds() -> None:
    read_end, write_end = os.pipe()
    event, null, root = os.eventfd(0), os.open(os.devnull, os.O_WRONLY), os.open("/", os.O_RDONLY)
    with socket.socket() as sock, select.epoll() as poll, tempfile.TemporaryFile() as file:
        numbers = [read_end, event, null, root, sock.fileno(), poll.fileno(), file.fileno()]
        assert [found(number).kind for number in numbers] == [
            *("pipe", "eventfd", "char", "directory", "socket", "eventpoll", "file")
        ]
        assert (found(file.fileno()).links, found(root).links > 0) == (0, True)
        assert [(found(each).is_read, found(each).is_written) for each in (read_end, null, file.fileno())] == [
            (True, False),
            (False, True),
            (True, True),
        ]
    for number in (read_end, write_end, event, null, root):
        os.close(number)


def test_the_one_it_looks_with_is_not_among_them() -> None:
    before = len(os.listdir("/proc/self/fd")) - 1
    assert len(descriptors.open_now()) == before


def test_an_identity_goes_with_the_file(tmp_path: Path) -> None:
    number = os.open(tmp_path, os.O_RDONLY)
    assert descriptors.identity_of(number) == found(number).identity
    os.close(number)
    assert descriptors.identity_of(number) is None


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("anon_inode:[eventpoll]", "eventpoll"),
        ("anon_inode:inotify", "inotify"),
        ("anon_inode:[timerfd]", "timerfd"),
        ("anon_inode:bpf-map", "bpf-map"),
        ("something else", "other"),
    ],
)
def test_anonymous_ones(target: str, kind: str) -> None:
    assert descriptors.anonymous_kind(target) == kind


class TestEnds:
    def test_tcp(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            name = f"127.0.0.1:{server.getsockname()[1]}"
            with socket.create_connection(server.getsockname()) as client, socket.socket() as fresh:
                listening = descriptors.ends_of(server.fileno())
                assert (listening.kind, listening.state, listening.local) == ("tcp", "listening", name)
                assert listening.port == server.getsockname()[1]
                connected = descriptors.ends_of(client.fileno())
                assert (connected.kind, connected.state, connected.peer) == ("tcp", "connected", name)
                assert descriptors.ends_of(fresh.fileno()).state == "unconnected"
                client.sendall(b"still open")

    def test_udp_and_ipv6(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
            bound.bind(("127.0.0.1", 0))
            ends = descriptors.ends_of(bound.fileno())
            assert (ends.kind, ends.state, ends.port) == ("udp", "unconnected", bound.getsockname()[1])
        if socket.has_ipv6:
            with socket.socket(socket.AF_INET6) as six:
                assert descriptors.ends_of(six.fileno()).local.startswith("[::]:")

    def test_unix(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(f"\0arbd-test-{os.getpid()}")
            server.listen()
            client.connect(server.getsockname())
            assert descriptors.ends_of(client.fileno()).peer == f"@arbd-test-{os.getpid()}"
        one, other = socket.socketpair()
        with one, other:
            ends = descriptors.ends_of(one.fileno())
            assert (ends.kind, ends.state, ends.local, ends.peer) == ("unix", "connected", "", "")

    def test_other_families(self) -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as netlink:
            assert descriptors.ends_of(netlink.fileno()).kind == "netlink"

    def test_what_is_no_socket(self) -> None:
        assert descriptors.ends_of(0).state == "unknown"


class TestNoneIsLeft:
    @pytest.fixture(autouse=True)
    def _full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody can look, until the reserve is given up."""
        self.has_reserve, self.free = True, False

        def numbers() -> list[int]:
            if not self.free:
                raise OSError(24, "Too many open files")
            return [0]

        def give_up() -> bool:
            self.free = self.has_reserve
            return self.has_reserve

        monkeypatch.setattr(descriptors, "_numbers", numbers)
        monkeypatch.setattr(reserve, "give_up", give_up)
        monkeypatch.setattr(reserve, "restore", lambda: setattr(self, "free", False))

    def test_the_reserve_is_taken_and_given_back(self) -> None:
        assert [descriptor.number for descriptor in descriptors.open_now()] == [0]
        assert not self.free

    def test_without_a_reserve_it_fails(self) -> None:
        self.has_reserve = False
        with pytest.raises(OSError, match="Too many"):
            descriptors.open_now()
