"""The state that polls and submits share: the connection, the pacing, and what each answer says of both.

Not the calls themselves: polls and submits report what came of theirs.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final

import grpc.aio
from google.protobuf.message import DecodeError

from arbd.core.backoff import Backoff
from arbd.links.condition import HubCondition
from arbd.links.options import LinkOptions
from arbd.links.pace import Pace, TokenGate
from arbd.links.unary.connection import Connection, Way
from arbd.links.unary.policy import Disposition, Method, disposition

#: What a call ends by without anybody's bug: a status; no descriptor, no memory for it; an answer that is no message.
ORDINARY: Final = (grpc.aio.AioRpcError, OSError, DecodeError)

_ERROR_MIN_S: Final = 0.05
_ERROR_MAX_S: Final = 2.0
_MAY_BE_LOCAL: Final = frozenset({"UNAVAILABLE", "CANCELLED"})  # gRPC gives these without having heard the hub


class CallState:
    """The state of all calls to the hub. ``polls``, ``submits``: the pacing of the two methods; ``gate``: of both
    together.

    Raises ``OSError`` if there is nothing left to open a connection with.
    """

    def __init__(self, options: LinkOptions, condition: HubCondition, gate: TokenGate) -> None:
        self.options = options
        self.condition = condition
        self.stats = condition.stats
        self.gate = gate
        idle = Backoff(options.idle_min_s, options.idle_max_s)
        self.polls = Pace(limit=options.max_polls, window=1, idle=idle, error=_error_backoff())
        most = options.max_submits
        self.submits = Pace(limit=most, window=most, idle=_error_backoff(), error=_error_backoff())
        self.poll_timeout_s = options.long_poll_s + options.poll_margin_s
        self._renewed_at = -math.inf
        self.connection = Connection(
            condition.target,
            options.tls_options,
            max_receive=options.max_receive,
            longest_call_s=max(self.poll_timeout_s, options.submit_timeout_s),
        )

    def renew(self, options: LinkOptions) -> None:
        """Go by these options from the next call on. The hub is asked at once, also where it has refused a token."""
        if options.token != self.options.token:
            self.gate.renewed()
            self._renewed_at = time.monotonic()
        self.options = options
        self.poll_timeout_s = options.long_poll_s + options.poll_margin_s
        self.connection.renew(
            Way(self.condition.target, options.tls_options, options.max_receive),
            max(self.poll_timeout_s, options.submit_timeout_s),
            self.condition.renewal_is_late,
            self.condition.renewed,
        )

    def answered(self, started_at: float, now: float) -> None:
        """The hub did what a call that began at ``started_at`` asked for."""
        self.connection.heard(now)
        self.gate.passed(started_at)
        if not self.gate.closed and self.stats.state != "up":
            self.condition.up()

    def silent(self, waited_s: float) -> bool:
        """The hub has left a probe unanswered for so long: it is taken for gone; whether it had counted as there."""
        was_up = self.stats.state == "up"
        self.stats.reconnects += 1
        self._tell_silence(waited_s)
        return was_up

    def alive(self, was_up: bool) -> None:
        """A probe was answered again. That says nothing of the token, so it counts as there only if it had before."""
        if was_up and not self.gate.closed:
            self.condition.up()

    def cut(self, channel: grpc.aio.Channel, waited_s: float) -> None:
        """End the calls on a channel on which the hub has left a probe unanswered for so long."""
        is_newest = channel is self.connection.channel
        if self.connection.cut(channel, time.monotonic()) and is_newest:
            self.stats.reconnects += 1
            self._tell_silence(waited_s)

    def _tell_silence(self, waited_s: float) -> None:
        self.condition.trouble("down", "DEADLINE_EXCEEDED", f"silent, and no answer to a probe within {waited_s:g} s")

    def failed(self, method: Method, pace: Pace, error: BaseException, started_at: float) -> Disposition:
        """Count a failed call, and say what follows from it."""
        now = time.monotonic()
        code, details = status(error)
        result = disposition(method, code, details)
        if result is not Disposition.EMPTY:
            self.stats.failures[f"{method.value} {code}"] += 1
        if code == "DEADLINE_EXCEEDED":
            self.stats.reconnects += self.connection.replace_if_silent(started_at, now)
        elif code not in _MAY_BE_LOCAL:
            self.connection.heard(now)
        if result is Disposition.EMPTY:
            pace.empty(started_at, now)
            self.answered(started_at, now)
        elif result in (Disposition.ACCEPTED, Disposition.DROP):
            pace.productive()
            self.answered(started_at, now)
        elif result is not Disposition.TOO_LARGE:  # which says nothing about the hub
            pace.failed(started_at, now)
            if result is Disposition.REFUSED and started_at < self._renewed_at:
                return result  # the token of before: the hub has said nothing of the new one
            if result is Disposition.REFUSED:
                self.gate.refused(now)
            self.condition.trouble("refused" if result is Disposition.REFUSED else "down", code, details)
        return result


def status(error: BaseException | None) -> tuple[str, str]:
    """Status name and details of a failed call."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code().name, error.details() or ""
    if isinstance(error, OSError):
        return "UNAVAILABLE", str(error)  # nothing left to make the call with
    if isinstance(error, asyncio.CancelledError):
        return "CANCELLED", "its channel was closed"
    return "INTERNAL", f"{type(error).__name__}: {error}"  # an answer that is no message


def _error_backoff() -> Backoff:
    return Backoff(_ERROR_MIN_S, _ERROR_MAX_S)
