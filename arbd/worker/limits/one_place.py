"""Monitors of an author's own that say ``shared = True``: asked in one process for all workers (``arbd:limits``).

    worker                                         arbd:limits, forked from the zygote
      check_rate_limits()   ── number, "check" ──>   monitor.check_rate_limits()                    looks
      make_safe_request(f)  ── number, "count" ──>   the same, then make_safe_request(nothing)      counts; then the
           f() <────────────── the refusal, or none                                                 worker calls f

One question after the other, so the check and the counting of one call are never torn apart by another worker's.
The zygote holds the listening socket and starts the process again if it ends; its monitors then start over, as they do
when the code is loaded again. Where no process is to be had it tries again later, and hangs up on those who ask
meanwhile. The socket has no name in the file system; who asks must be of the same user.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, NoReturn

import msgspec

from arbd import logs
from arbd.author.provider import Provider
from arbd.errors import EXIT_UNEXPECTED, RegistrationError
from arbd.host import procs, reserve
from arbd.model.response import message_of
from arbd.rate_limit import NoRateLimitMonitor, RateLimitMonitor
from arbd.rate_limit.limit_monitor import LimitMonitor
from arbd.worker.failures import head
from arbd.worker.limits.asking import MAX_MESSAGE, Answer, decode_question, encode, redirect

_RESTART_PAUSE_S: Final = 0.2  # one that ends at once is started a few times a second
_LONGEST_PAUSE_S: Final = 2.0
_NO_DESCRIPTOR_PAUSE_S: Final = 0.01
_MOST_OF_AN_ERROR: Final = 8_000  # bytes
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
    """A connection of one who may ask. Without a descriptor for it, who asks is hung up on and tries again."""
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
    """Take one connection and close it, with the reserve's descriptor."""
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
    name = type(monitor).__name__
    try:
        limits = monitor.check_rate_limits()
        refused = bool(limits and limits.get("rate_limited"))
        if op == "count" and not refused and _counts_requests(monitor):
            monitor.make_safe_request(lambda: None)
        reply = encode(Answer(limits))
    except BaseException as error:  # as in a worker: it may raise SystemExit, and is asked again for the next task
        logs.get_logger("arbd.limits").error("monitor_failed", monitor=name, exc_info=error)
        problem = message_of(error)
        return encode(Answer(error=head(f"{name}: {type(error).__name__}: {problem}", _MOST_OF_AN_ERROR)))
    if len(reply) > MAX_MESSAGE:
        return encode(Answer(error=f"{name}: its answer has {len(reply)} bytes; {MAX_MESSAGE} can be passed on"))
    return reply


# -- the process, seen from the zygote --------------------------------------------------------------------------------


class OnePlace:
    """The process, seen from the zygote. Without such monitors there is none, and nothing here does anything.

    ``pidfd``: of the process, -1 while there is none. Raises ``RegistrationError`` if it cannot be forked, because the
    author's module has started threads.
    """

    def __init__(self, provider: Provider, *, threads: Sequence[str]) -> None:
        self._monitors = find(provider)
        self._listener = listen() if self._monitors else None
        self._start_at: float | None = None  # None: it runs, or nobody wants it
        self._pause_s = _RESTART_PAUSE_S
        self._pid = 0
        self.pidfd = -1
        if self._monitors and threads:
            raise RegistrationError(
                f"{type(self._monitors[0]).__name__} says shared = True, so it is asked in a process that is forked; "
                f"but the module starts threads while it is imported ({', '.join(threads)}), which forbids that"
            )

    def want(self) -> None:
        """It may be started from now on."""
        if self._listener is not None and self.pidfd < 0:
            self._start_at = time.monotonic()

    def due_in_s(self) -> float | None:
        """Seconds until ``start`` should be called; ``None``: not at all."""
        return None if self._start_at is None else max(0.0, self._start_at - time.monotonic())

    def start(self, before: Callable[[], None]) -> bool:
        """Fork it; ``before`` is called in the child first. ``False``: not now; ``due_in_s`` tells when again."""
        assert self._listener is not None
        try:
            self._pid, self.pidfd = procs.fork(lambda: self._be(before))
        except OSError as exc:
            # Again and again, but not as often as it can.
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._start_at = time.monotonic() + self._pause_s
            logs.get_logger("arbd.limits").error(
                "shared_monitors_not_started", reason=exc.strerror or str(exc), retry_in=self._pause_s
            )
            self._refuse_waiting()
            return False
        self._start_at = None
        self._pause_s = _RESTART_PAUSE_S
        return True

    def _be(self, before: Callable[[], None]) -> NoReturn:
        """In the child."""
        assert self._listener is not None
        logs.set_role("limits")
        try:
            before()
            procs.set_name("arbd:limits")
            serve(self._listener, self._monitors)
        except BaseException as error:
            logs.get_logger("arbd.limits").critical("shared_monitors_failed", exc_info=error)
        finally:
            os._exit(EXIT_UNEXPECTED)

    def _refuse_waiting(self) -> None:
        """Nobody will answer those who ask now: hang up, so that their tasks are told."""
        assert self._listener is not None
        self._listener.setblocking(False)
        try:
            while True:
                self._listener.accept()[0].close()
        except OSError:
            pass

    def reap(self) -> None:
        """It has ended; it is due again in a moment."""
        status = procs.reap(self._pid)
        os.close(self.pidfd)
        self.pidfd = -1
        self._start_at = time.monotonic() + _RESTART_PAUSE_S
        logs.get_logger("arbd.limits").error("shared_monitors_ended", status=status)

    def close(self) -> None:
        """End it, for good."""
        if self.pidfd >= 0:
            procs.kill(self.pidfd)  # it may not have made its group yet
            procs.kill_group(self._pid)

    def ask_from_here(self) -> None:
        """In a worker: from now on the monitors' objects ask the one place."""
        if self._listener is not None:
            redirect(self._monitors, self._listener.getsockname())
            self._listener.close()


def _counts_requests(monitor: RateLimitMonitor) -> bool:
    """Whether it has a way of its own to make a request; the base class's would only check once more."""
    request = getattr(type(monitor), "make_safe_request", None)
    return request is not None and request is not RateLimitMonitor.make_safe_request
