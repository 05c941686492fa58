"""The HTTP server: bounded in all that somebody outside can make it spend, and one client's doing costs no other."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from daemon_support import eventually
from http_support import get, raw

from arbd.control.http_request import MAX_HEAD, HttpAnswer, plain
from arbd.control.http_server import HttpServer, LongAnswer
from arbd.host import http_listener


def failing() -> HttpAnswer:
    raise ValueError("of the route")


def failing_pieces() -> Iterator[bytes]:
    yield b"a"
    raise ValueError("in the middle")


ROUTES: dict[str, Any] = {
    "/ok": lambda: plain(200, "fine"),
    "/long": lambda: LongAnswer((b"x" * 1000 for _ in range(1000)), "text/plain"),
    "/huge": lambda: LongAnswer((b"x" * 1_000_000 for _ in range(30)), "text/plain"),
    "/fails": failing,
    "/fails-midway": lambda: LongAnswer(failing_pieces(), "text/plain"),
}


@contextmanager
def serving(**bounds: Any) -> Iterator[str]:
    """A server in a thread; where it listens."""
    listener = http_listener.listen("127.0.0.1", 0)
    address, begun = http_listener.shown(listener), threading.Event()
    loop, failures = asyncio.new_event_loop(), list[object]()
    stop = asyncio.Event()

    async def serve() -> None:
        loop.set_exception_handler(lambda _, context: failures.append(context))
        server = HttpServer(ROUTES, "127.0.0.1", **bounds)
        await server.start(listener)
        begun.set()
        await stop.wait()
        await server.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert begun.wait(10)
        yield address
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
    assert not thread.is_alive()
    assert failures == []


def is_hung_up(connection: socket.socket) -> bool:
    """Whether nothing can be sent to the other side any more."""
    try:
        connection.sendall(b"x")
    except ConnectionError:
        return True
    return False


def test_what_is_there_is_served_and_what_is_not_is_404_with_what_there_is() -> None:
    with serving() as address:
        assert get(address, "/ok")[:2] == (200, "fine\n")
        nothing = get(address, "/nothing")
    assert nothing.status == 404
    assert "/ok" in nothing.text


def test_head_is_get_without_the_body() -> None:
    with serving() as address:
        for path in ("/ok", "/long"):
            head, got = get(address, path, method="HEAD"), get(address, path)
            assert (head.status, head.text) == (200, "")
            assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.text))


def test_a_route_that_fails_costs_its_answer_and_no_other(capfd: pytest.CaptureFixture[str]) -> None:
    with serving() as address:
        assert get(address, "/fails").status == 500
        assert get(address, "/fails-midway").status == 500
        assert get(address, "/ok").status == 200


def test_many_requests_on_one_connection() -> None:
    with serving() as address:
        request = b"GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n"
        last = b"GET /ok HTTP/1.1\r\nConnection: close\r\n\r\n"
        assert raw(address, request * 50 + last).count(b"fine") == 51


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"BREW / HTTP/1.1\r\n\r\n", b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /ok HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
        (b"POST /ok HTTP/1.1\r\nContent-Length: 9\r\n\r\n123456789", b"405"),
        (b"GET /ok HTTP/1.1\r\nX: " + b"a" * MAX_HEAD + b"\r\n\r\n", b"431"),
    ],
)
def test_what_is_refused_is_told_and_ends_the_connection(request_: bytes, status: bytes) -> None:
    with serving() as address:
        answer = raw(address, request_)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in answer


def test_a_request_that_comes_drop_by_drop_has_an_end() -> None:
    with serving(request_timeout_s=0.2) as address:
        begun_at = time.monotonic()
        assert raw(address, b"GET /ok HTTP/1.1\r\n").startswith(b"HTTP/1.1 408")
        assert time.monotonic() - begun_at < 5


def test_one_who_never_asks_is_hung_up_on() -> None:
    with serving(request_timeout_s=0.1, idle_timeout_s=0.1) as address:
        assert raw(address, b"") == b""
        assert raw(address, b"GET /ok HTTP/1.1\r\n\r\n").endswith(b"fine\n")


def test_one_who_reads_nothing_costs_no_other_and_has_an_end() -> None:
    with serving(send_timeout_s=0.3) as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as deaf:
            deaf.sendall(b"GET /huge HTTP/1.1\r\n\r\n")
            assert get(address, "/ok").status == 200
            deaf.settimeout(10)
            eventually(lambda: is_hung_up(deaf))


def connected(address: str, request: bytes = b"") -> socket.socket:
    """A connection over which this was sent."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(request)
    return connection


@pytest.mark.parametrize("begun", [b"", b"GET /o", b"GET /ok HTTP/1.1\r\n\r\n", b"GET /huge HTTP/1.1\r\n\r\n"])
def test_who_is_idle_for_longest_makes_room_for_who_asks(begun: bytes) -> None:
    """Silent, slow with its request, between two requests, or not reading: none of it keeps a probe from its answer."""
    with serving(max_connections=2, idle_timeout_s=30, request_timeout_s=30, send_timeout_s=30) as address:
        idle = []
        for _ in range(4):
            idle.append(connected(address, begun))
            if begun.endswith(b"\r\n\r\n"):
                assert idle[-1].recv(12) == b"HTTP/1.1 200"
        assert [get(address, "/ok").status for _ in range(3)] == [200] * 3
        eventually(lambda: is_hung_up(idle[0]))
        for each in idle:
            each.close()


def test_where_nobody_is_idle_one_more_is_told_so() -> None:
    go_on, begun = threading.Event(), list[int]()

    def pieces() -> Iterator[bytes]:
        begun.append(1)
        while not go_on.is_set():
            time.sleep(0.001)
            yield b"x"

    ROUTES["/busy"] = lambda: LongAnswer(pieces(), "text/plain")
    with serving(max_connections=2) as address:
        busy = [connected(address, b"GET /busy HTTP/1.1\r\n\r\n") for _ in range(2)]
        try:
            eventually(lambda: len(begun) == 2)
            refused = raw(address, b"GET /ok HTTP/1.1\r\n\r\n")
        finally:
            go_on.set()
        assert b"2 others are connected" in refused
        assert [each.recv(12) for each in busy] == [b"HTTP/1.1 200"] * 2
        for each in busy:
            each.close()


def test_a_probe_does_not_wait_for_a_long_answer() -> None:
    turns: list[str] = []

    def pieces() -> Iterator[bytes]:
        for _ in range(200):
            turns.append("piece")
            time.sleep(0.002)
            yield b"x"

    ROUTES["/slow"] = lambda: LongAnswer(pieces(), "text/plain")
    with serving() as address:
        scrape = threading.Thread(target=get, args=(address, "/slow"))
        scrape.start()
        while not turns:
            time.sleep(0.001)
        assert get(address, "/ok").status == 200
        assert len(turns) < 200
        scrape.join()
