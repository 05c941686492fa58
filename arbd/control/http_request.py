"""Requests and answers of HTTP/1.1, as far as a page of figures needs them. Pure: bytes in, bytes out.

What is no request of this kind is refused with a status and one line of plain text that says what to do. No request has
a body: one that announces one is refused before it is read.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

MAX_HEAD: Final = 8 * 1024  # bytes of a request with all its headers; browsers send about one KiB
END_OF_HEAD: Final = b"\r\n\r\n"
_REQUEST_LINE: Final = re.compile(r"([A-Z]{1,16}) (\S{1,2000}) HTTP/1\.([01])")
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]\s]*)(?::\d{1,5})?")
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
PLAIN: Final = "text/plain; charset=utf-8"


class HttpAnswer(NamedTuple):
    """An answer with its whole body. ``headers``: beyond those that every answer has."""

    status: int
    body: bytes
    content_type: str = PLAIN
    headers: tuple[tuple[str, str], ...] = ()


class HttpRefusedError(Exception):
    """A request that is not served; ``answer`` says why. The connection ends with it."""

    def __init__(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(text)
        self.answer = plain(status, text, *headers)


class Request(NamedTuple):
    """A request: GET or HEAD of a path, without its query."""

    method: str
    path: str
    host: str
    keep_alive: bool


def plain(status: int, text: str, *headers: tuple[str, str]) -> HttpAnswer:
    """An answer of one line, or several."""
    return HttpAnswer(status, f"{text}\n".encode(), PLAIN, headers)


def parse(head: bytes) -> Request:
    """The request in these bytes, which end with the empty line. Raises ``HttpRefusedError``."""
    lines = head[: -len(END_OF_HEAD)].decode("latin-1").split("\r\n")
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise HttpRefusedError(400, "this is no HTTP/1.1 request; try: curl http://ADDRESS/metrics")
    method, target, minor = match.groups()
    headers = _headers(lines[1:])
    if method not in ("GET", "HEAD"):
        raise HttpRefusedError(405, f"{method} is not served here: use GET or HEAD", ("Allow", "GET, HEAD"))
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise HttpRefusedError(413, "a request with a body is not served here: send none")
    connection = headers.get("connection", "").lower()
    keep_alive = "keep-alive" in connection if minor == "0" else "close" not in connection
    path = target.partition("?")[0].partition("#")[0]
    if not path.startswith("/"):
        raise HttpRefusedError(400, "the target of a request is a path, such as /metrics")
    return Request(method, path, headers.get("host", ""), keep_alive)


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or not line.replace("\t", " ").isprintable():
            raise HttpRefusedError(400, "a header of the request cannot be read")
        key = name.lower()
        if key in headers and key in ("host", "content-length", "transfer-encoding"):
            raise HttpRefusedError(400, f"the request has two {name} headers")
        headers[key] = value.strip()
    return headers


def is_ours(host: str, listens_on: str) -> bool:
    """Whether a request with this Host header means this server. A browser that was led here by somebody else's name
    (DNS rebinding) names that; so on a loopback address only numbers and ``localhost`` are taken. Off loopback names
    are for the operator to give, and all are taken; a client that names none is no browser."""
    if not host or not is_loopback(listens_on):
        return True
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1].strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches what listens on this IP address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return found.is_loopback


def head_of(answer: HttpAnswer, length: int | None, *, keep_alive: bool) -> bytes:
    """The head of an answer; ``length`` of its body in bytes, ``None``: it is sent in chunks."""
    lines = [
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}",
        f"Content-Type: {answer.content_type}",
        "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        *(f"{name}: {value}" for name, value in answer.headers),
    ]
    return "\r\n".join((*lines, "", "")).encode("latin-1")
