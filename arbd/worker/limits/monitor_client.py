"""The client of shared monitors: in a worker, their methods are replaced by queries to the process that holds them.

The protocol is drawn in ``arbd.worker.limits.monitor_server``.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from arbd.errors import ProviderError
from arbd.host.timing import ProcessTiming
from arbd.interrupts import call, take_turn, uninterruptible
from arbd.rate_limit import RateLimitMonitor

MAX_MESSAGE: Final = 64 * 1024
_CONNECT_TIMEOUT_S: Final = 2.0  # the process is started again within a second
_CONNECT_PAUSE_S: Final = 0.01


class MonitorQuery(msgspec.Struct, frozen=True):
    """A query to monitor ``number``: ``check``, or ``count`` one call if the check lets it through."""

    number: int
    op: Literal["check", "count"]


class MonitorReply(msgspec.Struct, frozen=True):
    """The monitor's refusal or ``None``, or the error it raised."""

    limits: dict[str, Any] | None = None
    error: str | None = None


encode: Final = msgspec.msgpack.Encoder().encode
decode_query: Final = msgspec.msgpack.Decoder(MonitorQuery).decode
_reply: Final = msgspec.msgpack.Decoder(MonitorReply)


class MonitorClient:
    """A worker's connection to the monitors' process; threads take turns. A task's deadline may be raised while it
    waits."""

    def __init__(self, address: bytes) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._sleep = ProcessTiming().sleep
        self._socket: socket.socket | None = None

    @uninterruptible
    def ask(self, query: MonitorQuery) -> dict[str, Any] | None:
        """The refusal of a monitor, or ``None``. Raises ``ProviderError`` if the monitor failed, or nobody answers."""
        take_turn(self._lock, self._sleep)
        try:
            reply: MonitorReply = call(self._exchange, (encode(query),))
        finally:
            self._lock.release()
        if reply.error is not None:
            raise ProviderError(f"the rate limit could not be checked: {reply.error}")
        return reply.limits

    def _exchange(self, message: bytes) -> MonitorReply:
        give_up_at = time.monotonic() + _CONNECT_TIMEOUT_S
        while True:
            try:
                if self._socket is None:
                    self._socket = self._connect()
                self._socket.send(message)
                answer = self._socket.recv(MAX_MESSAGE)
                if answer:
                    return _reply.decode(answer)
                raise ConnectionResetError
            except OSError:
                self._hang_up()
                if time.monotonic() > give_up_at:
                    raise ProviderError("the rate limit could not be checked: nobody answers for it") from None
                time.sleep(_CONNECT_PAUSE_S)
            except BaseException:  # the task's deadline: an answer to come would be taken for that to another query
                self._hang_up()
                raise

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(self._address)
        except BaseException:
            connection.close()
            raise
        return connection

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def redirect(monitors: Sequence[RateLimitMonitor], address: bytes) -> None:
    """Replace the methods of these monitors by queries to ``address``; called when a worker starts."""
    client = MonitorClient(address)
    for number, monitor in enumerate(monitors):
        # Before a task one query does both, so that no other worker comes between.
        monitor.arbd_admit = _asking(client, number, "count")  # type: ignore[attr-defined] # ours, for `execute`
        monitor.check_rate_limits = _asking(client, number, "check")  # type: ignore[method-assign] # this object's alone
        monitor.make_safe_request = _counting(client, number, monitor)  # type: ignore[method-assign] # as above


def _asking(client: MonitorClient, number: int, op: Literal["check", "count"]) -> Callable[[], dict[str, Any] | None]:
    query = MonitorQuery(number, op)
    return lambda: client.ask(query)


def _counting(client: MonitorClient, number: int, monitor: RateLimitMonitor) -> Callable[..., Any]:
    query = MonitorQuery(number, "count")

    def make_safe_request(request_func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        while (limits := client.ask(query)) and limits.get("rate_limited"):
            monitor.handle_throttling(limits["wait_time"])
        return request_func(*args, **kwargs)

    return make_safe_request
