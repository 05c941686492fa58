"""The server of the control socket, against real sockets: who asks is answered, who misbehaves harms nobody."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import uvloop
from daemon_support import eventually
from descriptor_support import no_free_descriptor

from arbd import logs
from arbd.control import client as control
from arbd.control import protocol
from arbd.control.protocol import ControlReply, Failure, GetLimits, GetStatus, LimitsReply
from arbd.control.reports import LimitReport
from arbd.control.server import MAX_CLIENTS, ControlServer, same_user_or_root
from arbd.errors import ControlError
from arbd.host import control_socket

ASK = b'{"type":"get_limits","version":1}\n'
ANSWER = protocol.encode(LimitsReply(provider="p", limits=[]))
STALL_S = 0.3  # how long the server below bears with a client


class Server:
    """A ``ControlServer`` on a loop in a thread; ``limits`` is what it answers."""

    def __init__(self, directory: Path, may_ask: Callable[[Any], bool], stall_s: float) -> None:
        self.limits: Callable[[], ControlReply] = lambda: LimitsReply(provider="p", limits=[])
        self._control = control_socket.listen(directory, ["p.sock"])
        self.path = self._control.path
        self._may_ask = may_ask
        self._stall_s = stall_s
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        handlers: dict[type[Any], Any] = {GetLimits: lambda _: self.limits()}
        self.server = ControlServer(handlers, may_ask=self._may_ask, request_timeout_s=self._stall_s)
        async with self.server.serving(self._control.listener):
            self._ready.set()
            await self._stop.wait()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._control.close()

    def client(self) -> Client:
        return Client(self.path)

    def ask(self) -> ControlReply:
        """A good request on a connection of its own."""
        return control.ask(self.path, GetLimits(), LimitsReply)


class Client:
    """Sends what it is told to, right or wrong."""

    def __init__(self, path: Path) -> None:
        self.socket = control_socket.connect(path, 5)
        self.received = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def still_sends(self, data: bytes) -> bool:
        """Send more; ``False`` if the server has hung up."""
        try:
            self.send(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def line(self) -> bytes:
        """The next line that comes; empty when the server has hung up."""
        while b"\n" not in self.received:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return b""
            self.received += data
        line, _, self.received = self.received.partition(b"\n")
        return line + b"\n"

    def failure(self) -> Failure:
        reply = protocol.decode_reply(self.line())
        assert isinstance(reply, Failure)
        return reply


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logs.set_level("critical")
    yield
    logs.set_level("info")


@contextmanager
def served(
    directory: Path, may_ask: Callable[[Any], bool] = same_user_or_root, stall_s: float = STALL_S
) -> Iterator[Server]:
    server = Server(directory, may_ask, stall_s)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with served(tmp_path) as server:
        yield server


class TestAnswers:
    def test_a_request_is_answered(self, server: Server) -> None:
        with server.client() as client:
            client.send(ASK)
            assert client.line() == ANSWER

    def test_a_connection_is_good_for_many_requests(self, server: Server) -> None:
        with server.client() as client:
            for _ in range(3):
                client.send(ASK)
                assert client.line() == ANSWER

    def test_requests_may_come_in_one_piece_and_are_answered_in_order(self, server: Server) -> None:
        with server.client() as client:
            client.send(ASK + b"nonsense\n" + ASK)
            assert client.line() == ANSWER
            assert client.failure().code == "malformed"
            assert client.line() == ANSWER

    def test_a_request_may_come_byte_by_byte(self, server: Server) -> None:
        with server.client() as client:
            for byte in ASK:
                client.send(bytes([byte]))
            assert client.line() == ANSWER

    def test_a_long_answer_comes_whole(self, server: Server) -> None:
        limit = LimitReport("name", "provider", "r" * 1000, None, 0.0, [])
        server.limits = lambda: LimitsReply(provider="p", limits=[limit] * 3000)
        assert server.ask() == LimitsReply(provider="p", limits=[limit] * 3000)

    def test_an_answer_beyond_all_measure_is_not_sent(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol, "MAX_REPLY", 10)
        with server.client() as client:
            client.send(ASK)
            failure = client.failure()
        assert (failure.code, failure.message) == ("failed", f"the answer would have {len(ANSWER)} bytes")


class TestBadClients:
    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            (b"GET / HTTP/1.1\r\n", "malformed"),
            (b"\x00\xff\xfe\n", "malformed"),
            (b"\n", "malformed"),
            (b"[" * 60_000 + b"\n", "malformed"),
            (b'{"type":"fly","version":1}\n', "unknown_message"),
            (b'{"type":"get_limits","version":2}\n', "version"),
            (b'{"type":"get_limits","version":1,"of":"me"}\n', "malformed"),
        ],
        ids=lambda value: repr(value[:30]),
    )
    def test_what_makes_no_sense_gets_an_answer_and_the_next_request_too(
        self, server: Server, sent: bytes, code: str
    ) -> None:
        with server.client() as client:
            client.send(sent)
            assert client.failure().code == code
            client.send(ASK)
            assert client.line() == ANSWER

    def test_a_request_without_an_end_is_cut_off(self, server: Server) -> None:
        with server.client() as client:
            client.send(b"x" * (protocol.MAX_REQUEST + 1))
            assert client.failure().code == "too_long"
            assert client.line() == b""
        assert server.ask() == LimitsReply(provider="p", limits=[])

    def test_one_that_stalls_is_left_and_others_are_served_meanwhile(self, server: Server) -> None:
        with server.client() as silent, server.client() as half:
            half.send(ASK[:10])
            assert server.ask() == LimitsReply(provider="p", limits=[])
            assert silent.line() == b""
            assert half.line() == b""

    def test_one_that_trickles_has_no_more_time_than_one_that_stalls(self, server: Server) -> None:
        begun_at = time.monotonic()
        with server.client() as client:
            eventually(lambda: not client.still_sends(b" "))
        assert time.monotonic() - begun_at < 10 * STALL_S

    def test_one_that_does_not_read_is_left_and_others_are_served_meanwhile(self, server: Server) -> None:
        limit = LimitReport("name", "provider", "r" * 1000, None, 0.0, [])
        server.limits = lambda: LimitsReply(provider="p", limits=[limit] * 3000)
        with server.client() as client:
            client.send(ASK)
            assert server.ask() == LimitsReply(provider="p", limits=[limit] * 3000)
            eventually(lambda: not server.server._clients)
            assert client.line() == b""  # it was hung up on in the middle of the line

    def test_those_that_go_away_at_once_leave_nothing_behind(self, server: Server) -> None:
        for sent in (b"", ASK[:5], ASK, ASK * 100):
            for _ in range(20):
                with server.client() as client:
                    client.send(sent)
        eventually(lambda: not server.server._clients)
        assert server.ask() == LimitsReply(provider="p", limits=[])

    def test_what_somebody_asked_who_has_given_up_is_not_done(self, server: Server) -> None:
        """A daemon that was stopped and goes on: `arbd drain` has said by then that nobody answers."""
        done: list[int] = []

        def carry_out() -> ControlReply:
            done.append(1)
            return LimitsReply(provider="p", limits=[])

        def stand_still() -> None:
            stopped.set()
            goes_on.wait(10)

        server.limits = carry_out
        stopped, goes_on = threading.Event(), threading.Event()
        server.loop.call_soon_threadsafe(stand_still)
        assert stopped.wait(10)
        with server.client() as gone:
            gone.send(ASK)
        goes_on.set()
        assert isinstance(server.ask(), LimitsReply)
        assert done == [1], "the last one alone"

    def test_one_that_has_no_more_to_ask_still_gets_its_answer(self, server: Server) -> None:
        with server.client() as client:
            client.send(ASK)
            client.socket.shutdown(socket.SHUT_WR)
            assert client.line() == ANSWER

    def test_one_that_asks_without_a_pause_leaves_the_loop_to_others(self, server: Server) -> None:
        asked: list[None] = []
        turns: list[int] = []  # how many had been answered at each turn of somebody else

        def answer() -> ControlReply:
            asked.append(None)
            return LimitsReply(provider="p", limits=[])

        def turn() -> None:
            turns.append(len(asked))
            if len(asked) < 400:
                server.loop.call_soon(turn)

        server.limits = answer
        with server.client() as client:
            server.loop.call_soon_threadsafe(turn)
            client.send(ASK * 400)
            for _ in range(400):
                assert client.line() == ANSWER
        steps = [after - before for before, after in pairwise(turns)]
        assert max(steps) <= 2

    def test_when_too_many_ask_the_next_one_is_told_and_later_served(self, tmp_path: Path) -> None:
        with served(tmp_path, stall_s=60) as server:
            with ExitStack() as stack:
                for _ in range(MAX_CLIENTS):
                    stack.enter_context(server.client())
                eventually(lambda: len(server.server._clients) == MAX_CLIENTS)
                with pytest.raises(ControlError, match="others are asking"):
                    server.ask()
            eventually(lambda: not server.server._clients)
            assert server.ask() == LimitsReply(provider="p", limits=[])


class TestTrouble:
    def test_a_handler_that_fails_costs_its_answer_and_tells_no_details(self, server: Server) -> None:
        def fail() -> ControlReply:
            raise RuntimeError("the token is s3cret")

        server.limits = fail
        with server.client() as client:
            client.send(ASK)
            failure = client.failure()
            assert failure.code == "failed"
            assert "RuntimeError" in failure.message
            assert "s3cret" not in failure.message
            server.limits = lambda: LimitsReply(provider="p", limits=[])
            client.send(ASK)
            assert client.line() == ANSWER

    def test_a_message_without_a_handler_is_a_failure_and_no_end(self, server: Server) -> None:
        with server.client() as client:
            client.send(protocol.encode(GetStatus()))
            assert client.failure().code == "failed"
            client.send(ASK)
            assert client.line() == ANSWER

    def test_somebody_who_may_not_ask_is_told_so_and_not_heard(self, tmp_path: Path) -> None:
        with served(tmp_path, may_ask=lambda peer: False) as server, server.client() as client:
            failure = client.failure()
            assert failure.code == "denied"
            assert client.line() == b""

    @pytest.mark.parametrize(("uid", "allowed"), [(0, True), (4242, True), (4243, False)])
    def test_the_same_user_and_root_may_ask(self, monkeypatch: pytest.MonkeyPatch, uid: int, allowed: bool) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
        assert same_user_or_root(control_socket.PeerCredentials(1, uid, 1)) is allowed

    def test_at_the_end_everybody_is_hung_up_on(self, tmp_path: Path) -> None:
        with ExitStack() as stack:
            with served(tmp_path, stall_s=60) as server:
                clients = [stack.enter_context(server.client()) for _ in range(5)]
                eventually(lambda: len(server.server._clients) == 5)
            assert [client.line() for client in clients] == [b""] * 5
        assert list(tmp_path.iterdir()) == []

    def test_where_no_descriptor_is_left_it_hangs_up_and_later_serves(self, server: Server) -> None:
        server.ask()  # whatever the first question opens is open now
        connections = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        with ExitStack() as stack, no_free_descriptor():
            for connection in map(stack.enter_context, connections):
                connection.settimeout(10)
                connection.connect(str(server.path))
                assert connection.recv(1) == b""
        assert server.ask() == LimitsReply(provider="p", limits=[])
