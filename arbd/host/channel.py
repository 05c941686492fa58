"""A control channel between two related processes: whole messages, with file descriptors attached.

Sequenced packets: one send is one receive, so there is no framing and descriptors stay with their message.
Messages are msgpack, encoded by the callers; they are small (the kernel bounds a packet): what may be large is sent as
a memfd beside the message.
"""

from __future__ import annotations

import array
import os
import socket
from typing import Final

from arbd.host import reserve

MAX_MESSAGE: Final = 64 * 1024
_MAX_FDS: Final = 12
_ROOM: Final = socket.CMSG_SPACE(_MAX_FDS * array.array("i").itemsize)


def pair() -> tuple[socket.socket, socket.socket]:
    """Make a channel: its two connected ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: bytes, fds: tuple[int, ...] = ()) -> None:
    """Send one message.

    Raises ``BrokenPipeError`` or ``ConnectionResetError`` when the other end is gone, ``BlockingIOError`` when full,
    and ``OSError`` of ``parcels.NOT_NOW`` when kernel or user have no room for it at this moment.
    """
    if len(message) > MAX_MESSAGE:
        raise ValueError(f"a control message of {len(message)} bytes is too long; send it as a memfd")
    socket.send_fds(end, [message], list(fds))


def receive(end: socket.socket) -> tuple[bytes, list[int]]:
    """The next message with its descriptors, closed on exec; an empty message means the other end is gone.

    Fewer descriptors than were sent come to a process that has no more free: who needs them all counts them. For one
    the reserve is given up.
    """
    message, fds, is_cut = _peek(end)
    if is_cut and reserve.give_up():
        for fd in fds:
            os.close(fd)
        _, fds, _ = _peek(end)
    if message:
        end.recv(1)  # the rest of a packet is dropped with it, and so are the descriptors in the socket
    reserve.restore()
    return message, fds


def _peek(end: socket.socket) -> tuple[bytes, list[int], bool]:
    """A message that stays in the socket, its descriptors, and whether some of them found no free number."""
    look = socket.MSG_PEEK | socket.MSG_CMSG_CLOEXEC
    try:
        message, ancillary, told, _ = end.recvmsg(MAX_MESSAGE, _ROOM, look)
    except ConnectionResetError:  # told once, by an end that had messages unread; what it had sent is still here
        message, ancillary, told, _ = end.recvmsg(MAX_MESSAGE, _ROOM, look)
    fds = array.array("i")
    for _level, _kind, data in ancillary:
        fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return message, fds.tolist(), bool(told & socket.MSG_CTRUNC)
