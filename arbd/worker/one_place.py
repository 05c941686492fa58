"""Monitors of an author's own that say ``shared = True``: asked in one process for all workers (``arbd:limits``).

    worker                                         arbd:limits, forked from the zygote
      check_rate_limits()   ── number, "check" ──>   monitor.check_rate_limits()                    looks
      make_safe_request(f)  ── number, "count" ──>   the same, then make_safe_request(nothing)      counts; then the
           f() <────────────── the refusal, or none                                                 worker calls f

One question after the other, so the check and the counting of one call are never torn apart by another worker's.
The zygote holds the listening socket and starts the process again if it ends; its monitors then start over, as they do
when the code is loaded again. The socket has no name in the file system; who asks must be of the same user.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from arbd import logs
from arbd.errors import RegistrationError
from arbd.host import procs
from arbd.provider import Provider
from arbd.rate_limit import NoRateLimitMonitor, RateLimitMonitor
from arbd.rate_limit.limit_monitor import LimitMonitor
from arbd.worker.asking import MAX_MESSAGE, Answer, decode_question, encode, redirect

_RESTART_PAUSE_S: Final = 0.2
_PEER: Final = struct.Struct("3i")  # pid, uid, gid


def find(provider: Provider) -> list[RateLimitMonitor]:
    """The provider's monitors that want to be asked in one place, each once, in a fixed order."""
    found = {id(monitor): monitor for monitor in _candidates(provider) if _wants_one_place(monitor)}
    return list(found.values())


def _candidates(provider: Provider) -> Iterator[Any]:
    yield provider.rate_limit_monitor
    yield provider.actions.default_monitor
    for action in provider.actions.values():
        yield action.rate_limit_monitor
    yield from vars(provider).values()


def _wants_one_place(value: Any) -> bool:
    if isinstance(value, (LimitMonitor, NoRateLimitMonitor)):
        return False  # the built-in ones hold for all workers anyway
    return callable(getattr(value, "check_rate_limits", None)) and getattr(value, "shared", False) is True


# -- the process that is asked ---------------------------------------------------------------------------------------


def listen() -> socket.socket:
    """The socket workers ask on."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(b"\0arbd-limits-" + secrets.token_hex(16).encode())
    listener.listen(256)
    return listener


def serve(listener: socket.socket, monitors: Sequence[RateLimitMonitor]) -> None:
    """Answer for ever."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    connections: dict[int, socket.socket] = {}
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                connection, _address = listener.accept()
                if _is_ours(connection):
                    connections[connection.fileno()] = connection
                    poll.register(connection, select.POLLIN)
                else:
                    connection.close()
            elif not _serve_one(connections[fd], monitors):
                poll.unregister(fd)
                connections.pop(fd).close()


def _is_ours(connection: socket.socket) -> bool:
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(peer)[1]) == os.geteuid()


def _serve_one(connection: socket.socket, monitors: Sequence[RateLimitMonitor]) -> bool:
    """Answer one question; ``False``: whoever asked has gone, or does not speak this protocol."""
    try:
        message = connection.recv(MAX_MESSAGE)
        if not message:
            return False
        question = decode_question(message)
        connection.send(_reply(monitors[question.number], question.op))
    except (OSError, msgspec.MsgspecError, IndexError):
        return False
    return True


def _reply(monitor: RateLimitMonitor, op: Literal["check", "count"]) -> bytes:
    try:
        limits = monitor.check_rate_limits()
        refused = bool(limits and limits.get("rate_limited"))
        if op == "count" and not refused and _counts_requests(monitor):
            monitor.make_safe_request(lambda: None)
        return encode(Answer(limits))
    except Exception as error:
        logs.get_logger("arbd.limits").error("monitor_failed", monitor=type(monitor).__name__, exc_info=error)
        return encode(Answer(error=f"{type(monitor).__name__}: {type(error).__name__}: {error}"))


class OnePlace:
    """The process, seen from the zygote. Without such monitors there is none, and nothing here does anything.

    Raises ``RegistrationError`` if it cannot be forked, because the author's module has started threads.
    """

    def __init__(self, provider: Provider, *, threads: Sequence[str]) -> None:
        self._monitors = find(provider)
        self._listener = listen() if self._monitors else None
        self._started_at = 0.0
        self._pid = 0
        self.pidfd = -1
        if self._monitors and threads:
            raise RegistrationError(
                f"{type(self._monitors[0]).__name__} says shared = True, so it is asked in a process that is forked; "
                f"but the module starts threads while it is imported ({', '.join(threads)}), which forbids that"
            )

    def start(self, before: Callable[[], None]) -> bool:
        """Fork it, if there is anything to ask; ``before`` is called in the child first."""
        if self._listener is None:
            return False
        # One that ends at once is started a few times a second, not as often as it can.
        time.sleep(max(0.0, self._started_at + _RESTART_PAUSE_S - time.monotonic()))
        self._started_at = time.monotonic()
        zygote = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                before()
                procs.die_with_parent(zygote)
                os.setpgid(0, 0)
                procs.set_name("arbd:limits")
                serve(self._listener, self._monitors)
            except BaseException as error:
                logs.get_logger("arbd.limits").error("shared_monitors_failed", exc_info=error)
            finally:
                os._exit(1)
        self.pidfd = os.pidfd_open(self._pid)
        return True

    def bury(self) -> None:
        """It has ended."""
        _, status = os.waitpid(self._pid, 0)
        os.close(self.pidfd)
        self.pidfd = -1
        logs.get_logger("arbd.limits").error("shared_monitors_ended", status=os.waitstatus_to_exitcode(status))

    def close(self) -> None:
        """End it, for good."""
        if self.pidfd >= 0:
            procs.kill(self.pidfd)

    def ask_from_here(self) -> None:
        """In a worker: from now on the monitors' objects ask the one place."""
        if self._listener is not None:
            redirect(self._monitors, self._listener.getsockname())
            self._listener.close()


def _counts_requests(monitor: RateLimitMonitor) -> bool:
    """Whether it has a way of its own to make a request; the base class's would only check once more."""
    request = getattr(type(monitor), "make_safe_request", None)
    return request is not None and request is not RateLimitMonitor.make_safe_request
