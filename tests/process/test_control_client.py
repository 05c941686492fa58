"""Finding the daemon that is meant, and asking it: every way in which that fails says what to do."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from arbd.control import client as control
from arbd.control import protocol
from arbd.control.names import names_for
from arbd.control.protocol import Failure, GetLimits, LimitsReply
from arbd.errors import ControlError
from arbd.host import control_socket, runtime_dir
from arbd.settings.table import Settings, from_flags, resolve


def settings(**given: str | None) -> Settings:
    return resolve([from_flags({name.replace("__", "."): value for name, value in given.items()})]).settings


@contextmanager
def listening(directory: Path, *providers: str) -> Iterator[list[Path]]:
    """Daemons of these providers that listen and say nothing."""
    directory.mkdir(exist_ok=True)
    opened = [control_socket.listen(directory, [name.file for name in islice(names_for(p), 9)]) for p in providers]
    try:
        yield [each.path for each in opened]
    finally:
        for each in opened:
            each.close()


def leave_behind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


class TestFind:
    def test_without_a_name_it_is_the_only_one(self, tmp_path: Path) -> None:
        leave_behind(tmp_path / "dead.sock")
        (tmp_path / "notes.txt").touch()
        with listening(tmp_path, "prices") as [path]:
            assert control.find(None, settings(runtime_dir=str(tmp_path))) == path

    def test_a_name_is_a_providers(self, tmp_path: Path) -> None:
        with listening(tmp_path, "prices", "a/b") as [_, path]:
            assert control.find("a/b", settings(runtime_dir=str(tmp_path))) == path

    def test_a_number_tells_daemons_of_one_provider_apart(self, tmp_path: Path) -> None:
        where = settings(runtime_dir=str(tmp_path))
        with listening(tmp_path, "prices", "prices") as [first, second]:
            assert control.find("prices@1", where) == first
            assert control.find("prices@2", where) == second
            with pytest.raises(ControlError, match="several daemons are running; name one of prices@1, prices@2"):
                control.find("prices", where)

    def test_several_are_listed(self, tmp_path: Path) -> None:
        with listening(tmp_path, "b", "a"), pytest.raises(ControlError, match=r"several .* name one of a, b"):
            control.find(None, settings(runtime_dir=str(tmp_path)))

    def test_daemons_of_one_name_in_different_directories_are_listed_by_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        places = [tmp_path / "one", tmp_path / "two"]
        monkeypatch.setattr(runtime_dir, "for_command", lambda *_: places)
        with listening(places[0], "p") as [one], listening(places[1], "p") as [two]:
            with pytest.raises(ControlError) as caught:
                control.find("p", settings())
            assert str(caught.value) == f"several daemons are running; name one of {one}, {two}"

    def test_a_path_is_a_path(self) -> None:
        assert control.find("/x/y", settings()) == Path("/x/y")
        assert control.find("./x", settings()) == Path("x")
        assert control.find("x/mine.sock", settings()) == Path("x/mine.sock")

    def test_the_socket_of_the_settings_is_the_one_that_is_meant(self, tmp_path: Path) -> None:
        assert control.find(None, settings(control__socket="/x/y")) == Path("/x/y")
        with listening(tmp_path, "p") as [path]:
            assert control.find("p", settings(control__socket="/x/y", runtime_dir=str(tmp_path))) == path

    def test_where_there_is_none_it_says_where_it_looked(self, tmp_path: Path) -> None:
        with pytest.raises(ControlError, match=rf"no daemon is running \(looked into {tmp_path}\); `arbd run TARGET`"):
            control.find(None, settings(runtime_dir=str(tmp_path)))
        with pytest.raises(ControlError, match=r"no daemon of provider 'p' is running .*looked into"):
            control.find("p", settings(runtime_dir=str(tmp_path / "missing")))

    def test_where_there_are_others_it_names_them(self, tmp_path: Path) -> None:
        with listening(tmp_path, "a", "b"), pytest.raises(ControlError, match=r"'p' is running; there is a, b"):
            control.find("p", settings(runtime_dir=str(tmp_path)))

    def test_a_directory_that_may_not_be_read_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: Path) -> list[str]:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "listdir", refuse)
        with pytest.raises(
            ControlError, match=rf"running \(not allowed to look into {tmp_path}: ask as root"
        ) as caught:
            control.find(None, settings(runtime_dir=str(tmp_path)))
        assert "arbd run" not in str(caught.value), "one may be running there"


class Impostor:
    """Somebody who listens where a daemon should, and answers what the test wants."""

    def __init__(self, directory: Path, answer: Callable[[socket.socket], None]) -> None:
        self._control = control_socket.listen(directory, ["p.sock"])
        self._control.listener.setblocking(True)
        self._answer = answer
        self.path = self._control.path
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Impostor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._control.close()

    def _serve(self) -> None:
        connection, _ = self._control.listener.accept()
        with connection:
            self._answer(connection)

    def ask(self, timeout_s: float = 5.0) -> LimitsReply:
        return control.ask(self.path, GetLimits(), LimitsReply, timeout_s)


def says(line: bytes) -> Callable[[socket.socket], None]:
    """Reads the request, answers this, and hangs up."""

    def answer(connection: socket.socket) -> None:
        assert connection.recv(1000) == protocol.encode(GetLimits())
        connection.sendall(line)

    return answer


def waits(event: threading.Event) -> None:
    event.wait(10)


class TestAsk:
    def test_the_reply_is_given_back(self, tmp_path: Path) -> None:
        reply = LimitsReply(provider="p", limits=[])
        with Impostor(tmp_path, says(protocol.encode(reply))) as daemon:
            assert daemon.ask() == reply

    def test_the_reason_of_one_that_hangs_up_at_once_is_heard(self, tmp_path: Path) -> None:
        def refuse(connection: socket.socket) -> None:
            connection.sendall(protocol.encode(Failure(code="denied", message="not you")))
            connection.shutdown(socket.SHUT_RDWR)
            refused.set()

        refused = threading.Event()
        with Impostor(tmp_path, refuse) as daemon, control_socket.connect(daemon.path, 5) as connection:
            refused.wait(10)
            control._send(connection, protocol.encode(GetLimits()))
            assert b"not you" in control._receive_line(connection, time.monotonic() + 5)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (protocol.encode(Failure(code="failed", message="it is tired")), "^it is tired$"),
            (b'{"type":"failure","version":7,"code":"x","message":"ask arbd 7"}\n', "^ask arbd 7$"),
            (b'{"type":"limits","version":7}\n', "answered in version 7 .* same installation"),
            (b'{"type":"song","version":1}\n', "unknown 'song'"),
            (b"HTTP/1.1 400 Bad Request\r\n", "not a message of the control protocol"),
            (b'{"type":"limits","version":1}\n', "wrong fields"),
            (b'{"type":"lim', "hung up without an answer"),
            (b"", "hung up without an answer"),
        ],
    )
    def test_anything_else_is_an_error_that_says_why(self, tmp_path: Path, line: bytes, message: str) -> None:
        with Impostor(tmp_path, says(line)) as daemon, pytest.raises(ControlError, match=message):
            daemon.ask()

    def test_a_reply_of_another_kind_is_an_error(self, tmp_path: Path) -> None:
        reply = protocol.encode(LimitsReply(provider="p", limits=[]))
        with (
            Impostor(tmp_path, says(reply)) as daemon,
            pytest.raises(ControlError, match="answered LimitsReply to GetLimits"),
        ):
            control.ask(daemon.path, GetLimits(), protocol.StatusReply)

    def test_a_reply_without_an_end_is_cut_off(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol, "MAX_REPLY", 1000)
        with Impostor(tmp_path, says(b"x" * 2000)) as daemon, pytest.raises(ControlError, match="more than 1000 bytes"):
            daemon.ask()

    def test_silence_ends_by_the_timeout(self, tmp_path: Path) -> None:
        asked = threading.Event()
        with Impostor(tmp_path, lambda _: waits(asked)) as daemon:
            with pytest.raises(ControlError, match=r"did not answer within 0\.05 s; it is stopped or overloaded"):
                daemon.ask(0.05)
            asked.set()

    def test_so_does_a_reply_that_trickles(self, tmp_path: Path) -> None:
        asked = threading.Event()

        def trickle(connection: socket.socket) -> None:
            while not asked.wait(0.01):
                connection.send(b" ")

        with Impostor(tmp_path, trickle) as daemon:
            with pytest.raises(ControlError, match=r"did not answer within 0\.1 s"):
                daemon.ask(0.1)
            asked.set()

    def test_somebody_elses_socket_is_not_trusted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(control_socket, "peer_of", lambda _: control_socket.PeerCredentials(1, 4243, 1))
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
        with Impostor(tmp_path, lambda _: None) as daemon, pytest.raises(ControlError, match="who could be anybody"):
            daemon.ask()

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (FileNotFoundError(2, "x"), "there is no such socket"),
            (ConnectionRefusedError(111, "x"), "nobody listens there; its daemon has ended"),
            (PermissionError(13, "x"), "permission denied; ask as the daemon's user or as root"),
            (BlockingIOError(11, "x"), "did not answer within 5 s"),
            (OSError(5, "Input/output error"), "Input/output error"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_cannot_be_reached_says_why(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
    ) -> None:
        def refuse(*_: object) -> socket.socket:
            raise error

        monkeypatch.setattr(control_socket, "connect", refuse)
        with pytest.raises(ControlError, match=message):
            control.ask(tmp_path / "p.sock", GetLimits(), LimitsReply)
