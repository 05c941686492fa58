"""Bodies too large for a ring: a memfd each, sent over a side socket before the record that announces it.

Not the records: those are ``arbd.ipc.frame`` and ``arbd.ipc.link_frame``. Parcels come in the order of their records.

What a process lacks for a moment (descriptors, memory, room in the socket; the descriptors in flight of a user are
bounded, too) loses no parcel:

    send ─> False: nothing was sent, try again later
    take ─> NotNow: it is still in the socket, try again later        OSError, ValueError: it can never be had

A process at its descriptor limit gives up its reserve for the one it needs. A parcel is looked at in the socket first
(MSG_PEEK), and taken out only once its bytes are here: the kernel drops one that finds no free number, and a read may
want for memory.
"""

from __future__ import annotations

import array
import errno
import os
import socket
from typing import Final

from arbd.host import memory, reserve

NOT_NOW: Final = frozenset(
    {
        *(errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC),
        *(errno.ENOBUFS, errno.ETOOMANYREFS),  # the second: more descriptors in flight than RLIMIT_NOFILE
    }
)
"""The errors of a call that may succeed in a moment."""

_GONE: Final = frozenset({errno.EPIPE, errno.ECONNRESET})
_ONE_DESCRIPTOR: Final = socket.CMSG_LEN(array.array("i").itemsize)


class NotNow(OSError):
    """This process has no descriptor or memory for the next parcel, which stays in the socket."""


def send(side: socket.socket, parts: tuple[bytes, ...]) -> bool:
    """Send ``parts``, one after the other; ``False`` if that cannot be done now, and nothing was sent.

    ``True`` also if the other side is gone: what was meant for it is settled when its end is noticed. Raises
    ``OSError`` for what no waiting mends.
    """
    try:
        return _send(side, parts)
    except OSError as exc:
        if exc.errno not in NOT_NOW:
            raise
        return False
    finally:
        reserve.restore()


def _send(side: socket.socket, parts: tuple[bytes, ...]) -> bool:
    try:
        parcel = memory.create_parcel(parts)
    except OSError as exc:
        if exc.errno != errno.EMFILE or not reserve.give_up():
            raise
        parcel = memory.create_parcel(parts)
    try:
        socket.send_fds(side, [b"p"], [parcel])
    except OSError as exc:
        if exc.errno not in _GONE:
            raise
    finally:
        os.close(parcel)
    return True


def take(side: socket.socket, limit: int) -> bytes:
    """Receive the next parcel.

    Raises ``NotNow`` if it cannot be received at this moment; ``BlockingIOError`` or ``ValueError`` if none came,
    ``ValueError`` if it has more than ``limit`` bytes, ``OSError`` if it cannot be read.
    """
    try:
        parcel = _peek(side)
        if parcel is None and reserve.give_up():
            parcel = _peek(side)
        if parcel is None:
            raise NotNow(errno.EMFILE, "no free descriptor for a parcel")
        body = _read(side, parcel, limit)
        skip(side)
        return body
    except BlockingIOError:
        raise
    except OSError as exc:
        if exc.errno not in NOT_NOW:
            raise
        raise NotNow(exc.errno, exc.strerror) from exc
    finally:
        reserve.restore()


class Receiver:
    """The parcels of one socket, in their order, and none that may be another record's.

    Whatever is raised unexpectedly at one leaves open whether it is still in the socket. No later one is taken then:
    it could be taken for the one before it, and a result be given to another task.
    """

    def __init__(self, side: socket.socket) -> None:
        self._side = side
        self._is_lost = False

    def take(self, limit: int) -> bytes:
        """Receive the next parcel. Raises as ``take`` does; ``NotNow``, for good, after something unexpected."""
        if self._is_lost:
            raise NotNow(errno.EIO, "it is not known which parcel is the next")
        try:
            return take(self._side, limit)
        except (OSError, ValueError):
            raise
        except BaseException:
            self._is_lost = True
            raise


def _read(side: socket.socket, parcel: int, limit: int) -> bytes:
    try:
        return memory.read_parcel(parcel, limit)
    except BaseException as exc:
        if not (isinstance(exc, OSError) and exc.errno in NOT_NOW):
            skip(side)  # it can never be had, and must not be taken for the next one
        raise


def skip(side: socket.socket) -> None:
    """Drop the next parcel; that takes no descriptor."""
    side.recv(1)


def _peek(side: socket.socket) -> int | None:
    """The descriptor of the next parcel, which stays in the socket; ``None`` if there is no number free for it."""
    look = socket.MSG_PEEK | socket.MSG_CMSG_CLOEXEC
    try:
        message, ancillary, told, _ = side.recvmsg(1, _ONE_DESCRIPTOR, look)
    except ConnectionResetError:  # told once, by a side that ended with parcels unread; what it had sent is still here
        message, ancillary, told, _ = side.recvmsg(1, _ONE_DESCRIPTOR, look)
    for _level, _kind, data in ancillary:
        return int.from_bytes(data, "little", signed=True)
    if told & socket.MSG_CTRUNC:
        return None
    if message:
        skip(side)
    raise ValueError("a record by reference came without its parcel")
