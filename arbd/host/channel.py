"""A control channel between two related processes: whole messages, with file descriptors attached.

Sequenced packets: one send is one receive, so there is no framing and descriptors stay with their message.
Messages are msgpack, encoded by the callers; they are small (the kernel bounds a packet): what may be large is sent as
a memfd beside the message.
"""

from __future__ import annotations

import os
import socket
from typing import Final

MAX_MESSAGE: Final = 64 * 1024
_MAX_FDS: Final = 8


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: bytes, fds: tuple[int, ...] = ()) -> None:
    """Send one message. Raises ``BrokenPipeError`` when the other end is gone, ``BlockingIOError`` when full."""
    if len(message) > MAX_MESSAGE:
        raise ValueError(f"a control message of {len(message)} bytes is too long; send it as a memfd")
    socket.send_fds(end, [message], list(fds))


def receive(end: socket.socket) -> tuple[bytes, list[int]]:
    """The next message with its descriptors, closed on exec; an empty message means the other end is gone."""
    try:
        message, fds, _flags, _address = socket.recv_fds(end, MAX_MESSAGE, _MAX_FDS)
    except ConnectionResetError:
        return b"", []
    for fd in fds:
        os.set_inheritable(fd, False)  # MSG_CMSG_CLOEXEC would do, but Python's recv_fds drops its flags
    return message, fds
