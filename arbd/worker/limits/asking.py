"""A worker's side of monitors that are asked in one place: the questions, and the objects that put them.

What is asked and who answers is ``arbd.worker.limits.one_place``.
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


class Question(msgspec.Struct, frozen=True):
    """Ask monitor ``number``; ``count``: and count one call if it lets it through."""

    number: int
    op: Literal["check", "count"]


class Answer(msgspec.Struct, frozen=True):
    """What it said, or what it raised."""

    limits: dict[str, Any] | None = None
    error: str | None = None


encode: Final = msgspec.msgpack.Encoder().encode
decode_question: Final = msgspec.msgpack.Decoder(Question).decode
_answer: Final = msgspec.msgpack.Decoder(Answer)


class Asker:
    """One worker's connection. Threads take turns. A task's deadline may strike while it waits."""

    def __init__(self, address: bytes) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._sleep = ProcessTiming().sleep
        self._socket: socket.socket | None = None

    @uninterruptible
    def ask(self, question: Question) -> dict[str, Any] | None:
        """What the monitor says. Raises ``ProviderError`` if it failed, or nobody answers."""
        take_turn(self._lock, self._sleep)
        try:
            answer: Answer = call(self._exchange, (encode(question),))
        finally:
            self._lock.release()
        if answer.error is not None:
            raise ProviderError(f"the rate limit could not be checked: {answer.error}")
        return answer.limits

    def _exchange(self, message: bytes) -> Answer:
        give_up_at = time.monotonic() + _CONNECT_TIMEOUT_S
        while True:
            try:
                if self._socket is None:
                    self._socket = self._connect()
                self._socket.send(message)
                answer = self._socket.recv(MAX_MESSAGE)
                if answer:
                    return _answer.decode(answer)
                raise ConnectionResetError
            except OSError:
                self._hang_up()
                if time.monotonic() > give_up_at:
                    raise ProviderError("the rate limit could not be checked: nobody answers for it") from None
                time.sleep(_CONNECT_PAUSE_S)
            except BaseException:  # the task's deadline: an answer to come would be taken for that to another question
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
    """From now on these objects ask the one place; for a worker's start."""
    asker = Asker(address)
    for number, monitor in enumerate(monitors):
        # On a task's way one question does both, so that nobody comes between.
        monitor.arbd_admit = _asking(asker, number, "count")  # type: ignore[attr-defined] # ours, for `execute`
        monitor.check_rate_limits = _asking(asker, number, "check")  # type: ignore[method-assign] # this object's alone
        monitor.make_safe_request = _counting(asker, number, monitor)  # type: ignore[method-assign] # as above


def _asking(asker: Asker, number: int, op: Literal["check", "count"]) -> Callable[[], dict[str, Any] | None]:
    question = Question(number, op)
    return lambda: asker.ask(question)


def _counting(asker: Asker, number: int, monitor: RateLimitMonitor) -> Callable[..., Any]:
    question = Question(number, "count")

    def make_safe_request(request_func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        while (limits := asker.ask(question)) and limits.get("rate_limited"):
            monitor.handle_throttling(limits["wait_time"])
        return request_func(*args, **kwargs)

    return make_safe_request
