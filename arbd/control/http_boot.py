"""What the supervisor says to `arbd:http`, both ends: its start by exec, and pages that come and go while it runs.

    supervisor ──exec: python -m arbd.control.http FD PID──> arbd:http
               ──Boot, with the metrics page and the listener──> maps the page read-only, and serves
               ──PageAdded, with its descriptor──────────────> maps that, too     (author's metrics of a worker)
               ──PageRemoved─────────────────────────────────> unmaps it
               ──end of the stream───────────────────────────> leaves

No token and no setting but how to log is in any of it; the environment is scrubbed by the caller. Descriptors of pages
are opened anew for reading before they are sent.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from typing import Final

import msgspec

from arbd.host import channel, child

PROGRAM: Final = "arbd.control.http"


class Boot(msgspec.Struct, frozen=True, tag=True):
    """The start: the IP address it listens on, how to log. Descriptors: the metrics page, the listener, and the one
    that counts lost log lines, where there is one (``child.start`` adds it)."""

    address: str
    log_level: str
    log_format: str
    log_silent: bool


class PageAdded(msgspec.Struct, frozen=True, tag=True):
    """One more page, with its descriptor: what it is, and which of its kind."""

    kind: str
    key: int


class PageRemoved(msgspec.Struct, frozen=True, tag=True):
    """A page that is not to be read any more."""

    kind: str
    key: int


Message = Boot | PageAdded | PageRemoved
_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


def start(
    boot: Boot, environment: Mapping[str, str], page: int, listener: int
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the process; it, and the socket whose end ends it. Raises ``OSError`` if there is none to be had."""
    reading = readable(page)
    try:
        return child.start(PROGRAM, environment, _encode(boot), (reading, listener))
    finally:
        os.close(reading)


def tell(control: socket.socket, message: Message, descriptors: tuple[int, ...] = ()) -> None:
    """Send one message; pages go as descriptors that can only be read. Raises ``OSError``."""
    reading = [readable(each) for each in descriptors]
    try:
        channel.send(control, _encode(message), tuple(reading))
    finally:
        for each in reading:
            os.close(each)


def receive(control: socket.socket) -> tuple[Message | None, list[int]]:
    """The next message with its descriptors; ``None``: the supervisor has ended, or wants no more. Raises
    ``BlockingIOError`` if there is none yet, ``ValueError`` for what cannot be."""
    data, descriptors = channel.receive(control)
    if not data:
        return None, []
    return _decoder.decode(data), descriptors


def readable(fd: int) -> int:
    """Another descriptor of the same memory, through which it cannot be written."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
