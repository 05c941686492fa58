"""Requests: what is served, and what is refused with a status and a hint, whatever the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.control import http_request
from arbd.control.http_request import HttpRefusedError, Request, is_loopback, is_ours, parse, plain

END = b"\r\n\r\n"


def refused(head: bytes) -> tuple[int, str]:
    with pytest.raises(HttpRefusedError) as error:
        parse(head + END)
    answer = error.value.answer
    return answer.status, answer.body.decode()


def test_a_request_as_browsers_and_prometheus_send_it() -> None:
    head = b"GET /metrics?debug=1 HTTP/1.1\r\nHost: localhost:9464\r\nUser-Agent: x\r\nAccept:\ta,b\r\nX:"
    assert parse(head + END) == Request("GET", "/metrics", "localhost:9464", True)


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"GET / HTTP/1.1", True),
        (b"GET / HTTP/1.1\r\nConnection: close", False),
        (b"HEAD / HTTP/1.1\r\nConnection: Keep-Alive", True),
        (b"GET / HTTP/1.0", False),
        (b"GET / HTTP/1.0\r\nconnection: keep-alive", True),
    ],
)
def test_whether_another_may_follow(head: bytes, keep_alive: bool) -> None:
    assert parse(head + END).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("head", "status", "hint"),
    [
        (b"", 400, "curl"),
        (b"hello", 400, "curl"),
        (b"GET /", 400, "curl"),
        (b"get / HTTP/1.1", 400, "curl"),
        (b"GET  / HTTP/1.1", 400, "curl"),
        (b"GET / HTTP/2.0", 400, "curl"),
        (b"GET /" + b"a" * 3000 + b" HTTP/1.1", 400, "curl"),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "curl"),
        (b"GET http://x/ HTTP/1.1", 400, "path"),
        (b"POST /metrics HTTP/1.1", 405, "use GET or HEAD"),
        (b"DELETE / HTTP/1.1", 405, "use GET or HEAD"),
        (b"GET / HTTP/1.1\r\nContent-Length: 5", 413, "send none"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked", 413, "send none"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400, "two Host headers"),
        (b"GET / HTTP/1.1\r\nno colon", 400, "header"),
        (b"GET / HTTP/1.1\r\n folded: x", 400, "header"),
        (b"GET / HTTP/1.1\r\nA : x", 400, "header"),
        (b"GET / HTTP/1.1\r\nA: \x00", 400, "header"),
        (b"GET / HTTP/1.1\r\nA: \t\x1b[2J", 400, "header"),
    ],
)
def test_what_is_refused_and_the_hint(head: bytes, status: int, hint: str) -> None:
    found, text = refused(head)
    assert found == status
    assert hint in text


@given(st.binary(max_size=200))
def test_whatever_the_bytes_it_is_a_request_or_a_refusal(head: bytes) -> None:
    try:
        parse(head + END)
    except HttpRefusedError as error:
        http_request.head_of(error.answer, len(error.answer.body), keep_alive=False)


@pytest.mark.parametrize(
    "host", ["", "localhost", "LOCALHOST:9464", "a.localhost", "127.0.0.1:1", "[::1]:9464", "10.0.0.1"]
)
def test_hosts_that_are_this_machine(host: str) -> None:
    assert is_ours(host, "127.0.0.1")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9464", "localhost.evil.example", "a b", "127.0.0.1.evil"]
)
def test_a_name_that_led_a_browser_here_is_not_ours_on_loopback(host: str) -> None:
    assert not is_ours(host, "127.0.0.1")
    assert not is_ours(host, "::1")
    assert is_ours(host, "0.0.0.0")


def test_which_addresses_only_this_machine_reaches() -> None:
    addresses = ("127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "10.0.0.1", "x")
    assert [is_loopback(each) for each in addresses] == [True, True, True, False, False, False, False]


def test_the_head_of_an_answer() -> None:
    head = http_request.head_of(plain(405, "x", ("Allow", "GET")), 2, keep_alive=False).decode()
    lines = head.split("\r\n")
    assert lines[0] == "HTTP/1.1 405 Method Not Allowed"
    assert {"Content-Length: 2", "Allow: GET", "Connection: close", "Cache-Control: no-store"} <= set(lines)
    assert head.endswith("\r\n\r\n")
