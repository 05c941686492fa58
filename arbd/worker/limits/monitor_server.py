"""The server of an author's own monitors with ``shared = True``: one process, ``arbd:limits``, for all workers.

    worker                                         arbd:limits, forked from the zygote
      check_rate_limits()   ── number, "check" ──>   monitor.check_rate_limits()                    looks
      make_safe_request(f)  ── number, "count" ──>   the same, then make_safe_request(nothing)      counts; then the
           f() <────────────── the refusal, or none                                                 worker calls f

It answers one query after the other, so no other worker comes between the check and the counting of one call. The
zygote holds the listening socket. That has no name in the file system; clients must be of the same user.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from arbd import logs
from arbd.author.provider import Provider
from arbd.host import reserve
from arbd.logs.tracebacks import exc_info_of
from arbd.model.response import message_of
from arbd.rate_limit import NoRateLimitMonitor, RateLimitMonitor
from arbd.rate_limit.limit_monitor import LimitMonitor
from arbd.worker.failures import head
from arbd.worker.limits.monitor_client import MAX_MESSAGE, MonitorReply, decode_query, encode

_NO_DESCRIPTOR_PAUSE_S: Final = 0.01
_MOST_OF_AN_ERROR: Final = 8_000  # bytes
_PEER: Final = struct.Struct("3i")  # pid, uid, gid


def find(provider: Provider) -> list[RateLimitMonitor]:
    """The provider's shared monitors, each once, in a fixed order."""
    found = {id(monitor): monitor for monitor in _candidates(provider) if _is_shared(monitor)}
    return list(found.values())


def _candidates(provider: Provider) -> Iterator[Any]:
    yield provider.rate_limit_monitor
    yield provider.actions.default_monitor
    for action in provider.actions.values():
        yield action.rate_limit_monitor
    yield from vars(provider).values()


def _is_shared(value: Any) -> bool:
    if isinstance(value, (LimitMonitor, NoRateLimitMonitor)):
        return False  # the built-in ones hold for all workers anyway
    return callable(getattr(value, "check_rate_limits", None)) and getattr(value, "shared", False) is True


def listen() -> socket.socket:
    """A listening socket for workers' queries."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(b"\0arbd-limits-" + secrets.token_hex(16).encode())
    listener.listen(256)
    return listener


def serve(listener: socket.socket, monitors: Sequence[RateLimitMonitor]) -> None:
    """Answer queries for ever."""
    listener.setblocking(False)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    connections: dict[int, socket.socket] = {}
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                if (connection := _accept(listener)) is not None:
                    connections[connection.fileno()] = connection
                    poll.register(connection, select.POLLIN)
            elif not _serve_one(connections[fd], monitors):
                poll.unregister(fd)
                connections.pop(fd).close()


def _accept(listener: socket.socket) -> socket.socket | None:
    """A connection of a permitted client. Without a descriptor for it, the client is hung up on and tries again."""
    try:
        connection, _address = listener.accept()
    except OSError as exc:
        if exc.errno in (errno.EMFILE, errno.ENFILE):
            _hang_up(listener)
            time.sleep(_NO_DESCRIPTOR_PAUSE_S)
        return None  # otherwise: it has gone again
    if _is_ours(connection):
        return connection
    connection.close()
    return None


def _hang_up(listener: socket.socket) -> None:
    """Accept one connection and close it, with the descriptor of the reserve."""
    reserve.give_up()
    try:
        listener.accept()[0].close()
    except OSError:
        pass
    reserve.restore()


def _is_ours(connection: socket.socket) -> bool:
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(peer)[1]) == os.geteuid()


def _serve_one(connection: socket.socket, monitors: Sequence[RateLimitMonitor]) -> bool:
    """Answer one query; ``False`` if the client has gone, or does not speak this protocol."""
    try:
        message = connection.recv(MAX_MESSAGE)
        if not message:
            return False
        query = decode_query(message)
        connection.send(_reply(monitors[query.number], query.op))
    except (OSError, msgspec.MsgspecError, IndexError):
        return False
    return True


def _reply(monitor: RateLimitMonitor, op: Literal["check", "count"]) -> bytes:
    name = type(monitor).__name__
    try:
        limits = monitor.check_rate_limits()
        refused = bool(limits and limits.get("rate_limited"))
        if op == "count" and not refused and _counts_requests(monitor):
            monitor.make_safe_request(lambda: None)
        reply = encode(MonitorReply(limits))
    except BaseException as error:  # as in a worker: it may raise SystemExit, and is asked again for the next task
        logs.get_logger("arbd.limits").error("monitor_failed", monitor=name, exc_info=exc_info_of(error))
        problem = message_of(error)
        return encode(MonitorReply(error=head(f"{name}: {type(error).__name__}: {problem}", _MOST_OF_AN_ERROR)))
    if len(reply) > MAX_MESSAGE:
        return encode(MonitorReply(error=f"{name}: its answer has {len(reply)} bytes; {MAX_MESSAGE} can be passed on"))
    return reply


def _counts_requests(monitor: RateLimitMonitor) -> bool:
    """Whether a monitor overrides ``make_safe_request``; the base class's would only check once more."""
    request = getattr(type(monitor), "make_safe_request", None)
    return request is not None and request is not RateLimitMonitor.make_safe_request
