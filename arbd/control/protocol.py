"""The control protocol: what a command may ask a running daemon, and what it answers.

Pure: bytes in, messages out. The sockets are ``arbd.host.control_socket``; who answers is ``arbd.control.server``;
who asks is ``arbd.control.client``. Any number of requests on one connection, answered one after the other::

    command                                                 daemon
      {"type":"get_status","version":1}  ──────>
                                        <──────  {"type":"status","version":1,"report":{...}}
      {"type":"fly","version":1}         ──────>
                                        <──────  {"type":"failure","version":1,"code":"unknown_message","message":...}

A message is one line of JSON: its ``type``, the ``version`` of the protocol it is written in, and its fields. A line
is bounded in either direction, so nobody can make the other side keep more than that.

A new command adds its request to ``ControlRequest``, its reply to ``ControlReply``, and its handler to
``supervisor.commands``. That needs no new version: a daemon that does not know the message says so, and which ones it
knows. Nor does a new field of a reply, if it has a default. A new field of a request is refused by older daemons,
because to ignore it could mean to do something else than was asked. The version is for a change of what a message of
today means. ``Failure`` is the one message that never changes: it has to be understood across all versions.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeVar, get_args

import msgspec

from arbd.control.reports import LimitReport, NotableEvent, Operation, ProcessStacks, StatusReport
from arbd.model.flight import Flight

VERSION: Final = 1
MAX_REQUEST: Final = 64 * 1024  # bytes of a line; today's requests have fewer than a hundred
MAX_REPLY: Final = 16 * 1024 * 1024  # a status of 1024 workers has about 300 KiB

_M = TypeVar("_M")
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
FailureCode = Literal["malformed", "too_long", "version", "unknown_message", "denied", "busy", "failed"]


class _Message(msgspec.Struct, frozen=True, tag_field="type"):
    version: int = VERSION


# -- requests --------------------------------------------------------------------------------------------------------


class GetStatus(_Message, frozen=True, tag="get_status", forbid_unknown_fields=True):
    """A request for the daemon's status; answered by ``StatusReply``."""


class GetLimits(_Message, frozen=True, tag="get_limits", forbid_unknown_fields=True):
    """A request for the daemon's rate limits; answered by ``LimitsReply``."""


class GetEvents(_Message, frozen=True, kw_only=True, tag="get_events", forbid_unknown_fields=True):
    """A request for the last notable events; answered by ``EventsReply``. ``after``: only those with a larger
    number."""

    after: int = 0


class GetStacks(_Message, frozen=True, kw_only=True, tag="get_stacks", forbid_unknown_fields=True):
    """A request for the Python stacks of every process of the daemon; answered by ``StacksReply``, or with ``native``,
    which takes longer, by ``OperationReply``. ``worker``: the slot of the only worker that is meant."""

    worker: int | None = None
    native: bool = False


class GetTrace(_Message, frozen=True, kw_only=True, tag="get_trace", forbid_unknown_fields=True):
    """A request for what the flight recorder holds; answered by ``TraceReply``, with a page: the oldest tasks that were
    answered, and the oldest results that were acknowledged, after these moments of the daemon's monotonic clock."""

    answered_after_ns: int = 0
    acked_after_ns: int = 0


class GetProfile(_Message, frozen=True, kw_only=True, tag="get_profile", forbid_unknown_fields=True):
    """A request for what the workers do for so many ``seconds``, by samples of their stacks; answered by
    ``OperationReply``. ``action``: only what they do in that one. ``idle``: also where they wait."""

    seconds: float
    action: str | None = None
    idle: bool = False


class GetOperation(_Message, frozen=True, kw_only=True, tag="get_operation", forbid_unknown_fields=True):
    """A request for how far an operation is; answered by ``OperationReply``."""

    id: int


class DrainDaemon(_Message, frozen=True, tag="drain", forbid_unknown_fields=True):
    """Take no more tasks until ``Resume``; those that were taken are finished. Answered by ``OperationReply``."""


class Resume(_Message, frozen=True, kw_only=True, tag="resume", forbid_unknown_fields=True):
    """Take tasks again, and run those of paused actions; of this ``action`` only, if it is named. Answered by
    ``Done``."""

    action: str | None = None


class PauseAction(_Message, frozen=True, kw_only=True, tag="pause_action", forbid_unknown_fields=True):
    """Begin no task of this action until ``Resume``. Answered by ``Done``."""

    action: str


class Reload(_Message, frozen=True, tag="reload", forbid_unknown_fields=True):
    """Load the author's code, and the settings that can be changed, again. Answered by ``OperationReply``."""


class Scale(_Message, frozen=True, kw_only=True, tag="scale", forbid_unknown_fields=True):
    """Have so many workers. Answered by ``OperationReply``."""

    workers: int


class Replace(_Message, frozen=True, kw_only=True, tag="replace", forbid_unknown_fields=True):
    """Replace the worker of this slot, or one after the other all of them, by new ones. Answered by
    ``OperationReply``."""

    worker: int | None = None


class Kill(_Message, frozen=True, kw_only=True, tag="kill", forbid_unknown_fields=True):
    """End a task of this daemon, wherever it is. Answered by ``Done``."""

    task_id: str


class SetLogLevel(_Message, frozen=True, kw_only=True, tag="set_log_level", forbid_unknown_fields=True):
    """Write lines of this level and above, until the next start. Answered by ``Done``."""

    level: LogLevel


ControlRequest = (
    GetStatus
    | GetLimits
    | GetEvents
    | GetStacks
    | GetTrace
    | GetProfile
    | GetOperation
    | DrainDaemon
    | Resume
    | PauseAction
    | Reload
    | Scale
    | Replace
    | Kill
    | SetLogLevel
)


# -- replies ---------------------------------------------------------------------------------------------------------


class StatusReply(_Message, frozen=True, kw_only=True, tag="status"):
    """The reply to ``GetStatus``."""

    report: StatusReport


class LimitsReply(_Message, frozen=True, kw_only=True, tag="limits"):
    """The reply to ``GetLimits``, also where there are none."""

    provider: str
    limits: list[LimitReport]


class EventsReply(_Message, frozen=True, kw_only=True, tag="events"):
    """The reply to ``GetEvents``, oldest first."""

    events: list[NotableEvent]


class StacksReply(_Message, frozen=True, kw_only=True, tag="stacks"):
    """The reply to ``GetStacks``."""

    stacks: list[ProcessStacks]


class TraceReply(_Message, frozen=True, kw_only=True, tag="trace"):
    """The reply to ``GetTrace``. ``now_ns`` is its moment by the clock of the records, ``now_unix_ns`` the time of day.
    ``total``: verdicts since the start of the daemon; ``flights``: those that were asked for, oldest first; ``acks``:
    ids of tasks, each with the moment; ``running``: what workers run now. ``has_more``: ask again."""

    provider: str
    now_ns: int
    now_unix_ns: int
    total: int
    flights: list[Flight]
    acks: list[tuple[str, int]]
    running: list[Flight]
    has_more: bool


class OperationReply(_Message, frozen=True, kw_only=True, tag="operation"):
    """The reply to what takes longer than a moment: it has begun, or how far it is."""

    operation: Operation


class Done(_Message, frozen=True, kw_only=True, tag="done"):
    """The reply to a command that has been carried out; ``text`` says what it did, for people."""

    text: str


class Failure(_Message, frozen=True, kw_only=True, tag="failure"):
    """The reply to a request that was not served: ``code`` for programs, ``message`` for people."""

    code: str  # a `FailureCode`, or one that only a later version knows
    message: str


ControlReply = StatusReply | LimitsReply | EventsReply | StacksReply | TraceReply | OperationReply | Done | Failure


# -- both ways -------------------------------------------------------------------------------------------------------


class ControlProtocolError(ValueError):
    """Bytes that are no message of this protocol; ``failure`` is the reply to them."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(code=code, message=message)


def too_long(limit: int) -> ControlProtocolError:
    """The error for a line of more than ``limit`` bytes, the end of line not counted."""
    return ControlProtocolError("too_long", f"a message of more than {limit} bytes")


class _Head(msgspec.Struct):
    """The fields that every message of every version has."""

    type: str
    version: int


_head: Final = msgspec.json.Decoder(_Head)
_request: Final[msgspec.json.Decoder[ControlRequest]] = msgspec.json.Decoder(ControlRequest)
_reply: Final[msgspec.json.Decoder[ControlReply]] = msgspec.json.Decoder(ControlReply)
_encode: Final = msgspec.json.Encoder().encode
# Beside what msgspec raises for wrong data: text that is not UTF-8, and nesting beyond all measure.
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def _tags(union: Any) -> frozenset[str]:
    return frozenset(str(member.__struct_config__.tag) for member in get_args(union))


REQUESTS: Final = _tags(ControlRequest)
REPLIES: Final = _tags(ControlReply)


def encode(message: ControlRequest | ControlReply) -> bytes:
    """A message as one line of JSON."""
    return _encode(message) + b"\n"


def decode_request(line: bytes) -> ControlRequest:
    """The request in a line. Raises ``ControlProtocolError`` with the reply for it."""
    head = _decode_head(line)
    if head.version != VERSION:
        raise ControlProtocolError(
            "version",
            f"the daemon speaks version {VERSION} of the control protocol and was asked in version {head.version}; "
            "use the arbd command of the same installation as the daemon",
        )
    if head.type not in REQUESTS:
        known = ", ".join(sorted(REQUESTS))
        raise ControlProtocolError(
            "unknown_message",
            f"the daemon does not know {_shortened(head.type)}; it knows {known}. "
            "If the command is of a newer arbd than the daemon, restart the daemon with that one",
        )
    return _decode(_request, line)


def decode_reply(line: bytes) -> ControlReply:
    """The reply in a line. Raises ``ControlProtocolError`` if that cannot be understood."""
    head = _decode_head(line)
    if head.version != VERSION and head.type != "failure":
        raise ControlProtocolError(
            "version",
            f"the daemon answered in version {head.version} of the control protocol, and this command speaks version "
            f"{VERSION}; use the arbd command of the same installation as the daemon",
        )
    if head.type not in REPLIES:
        raise ControlProtocolError("unknown_message", f"the daemon answered with an unknown {_shortened(head.type)}")
    return _decode(_reply, line)


def _decode_head(line: bytes) -> _Head:
    try:
        return _head.decode(line)
    except _UNREADABLE as error:
        raise ControlProtocolError(
            "malformed",
            f'not a message of the control protocol, such as {{"type": "get_status", "version": 1}}: {error}',
        ) from None


def _decode(decoder: msgspec.json.Decoder[_M], line: bytes) -> _M:
    try:
        return decoder.decode(line)
    except _UNREADABLE as error:
        raise ControlProtocolError("malformed", f"a message with wrong fields: {error}") from None


def _shortened(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:40] + "...")
