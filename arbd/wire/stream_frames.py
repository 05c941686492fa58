"""The frames of protos/arbd_v1.proto as bytes and as values. Not the order in which they may come.

Everything of a frame is read here, at once, so that nothing of protobuf is seen elsewhere. What cannot be a frame
raises ``StreamError``: bytes that do not parse, or a frame without a sequence number, which was cut short.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec
from google.protobuf.message import DecodeError

from arbd.errors import ArbdError
from arbd.model.description import ActionInfo
from arbd.model.task import Status, Task
from arbd.wire.pb import arbd_v1_pb2 as pb

VERSION: Final = 1
METHOD: Final = "/arbd.v1.ProviderHub/Connect"
FRAME_ROOM: Final = 64 * 1024
"""Bytes that a frame may hold beside what is counted: numbers, names, renewals."""
ENTRY_ROOM: Final = 64
"""Bytes that a task or a result takes beside its long fields."""
SOFT_LIMIT: Final = 1024 * 1024
"""A frame that holds more than this takes no further task or result: the next one is on its way while it is read."""
MAX_FRAME: Final = (1 << 31) - 1
"""Bytes of the largest frame that can be made at all, whatever the other side takes."""
USUAL_MAX_FRAME: Final = 4 * 1024 * 1024
"""What a hub is taken to take that does not say it: gRPC's own default."""
MAX_NUMBER: Final = (1 << 63) - 1
"""The largest number that is sent: of microseconds 292,000 years, whatever somebody asked for."""
SCHEMAS_MAX: Final = 1024 * 1024
"""A description with longer schemas goes without them: it must not fill the hub's largest frame."""


class StreamError(ArbdError):
    """The other side broke a rule of the stream, or fell silent: this stream is over, another one may work."""


class Hello(msgspec.Struct, frozen=True):
    """A provider's first words on a stream: who it is, what it takes, and which tasks it still holds."""

    provider: str
    token: str
    session: str
    max_frame: int
    holding: Sequence[str] = ()
    version: int = VERSION

    def __repr__(self) -> str:
        return f"Hello(provider={self.provider!r}, session={self.session!r})"  # never the token


class FrameResult(NamedTuple):
    """One result as the hub gets it. ``status`` is empty if it is none."""

    id: str
    attempt: int
    status: str
    result: bytes


class ProviderFrame(NamedTuple):
    """One frame of a provider. ``actions`` is ``None`` where the frame has no description of them."""

    seq: int
    acked: int
    credit: int
    hello: Hello | None
    actions: list[ActionInfo] | None
    results: list[FrameResult]
    renew: Sequence[str]


class Welcome(NamedTuple):
    """The hub's answer to a hello."""

    version: int
    lease_s: float
    max_frame: int


class GoAway(NamedTuple):
    """The hub's request that this stream end."""

    reason: str
    reconnect_after_s: float


class HubFrame(NamedTuple):
    """One frame of a hub. ``refused``: pairs of id and reason."""

    seq: int
    acked: int
    welcome: Welcome | None
    tasks: list[Task]
    cancel: Sequence[str]
    refused: list[tuple[str, str]]
    go_away: GoAway | None


_STATUS_NUMBER: Final[dict[Status, pb.Status]] = {
    "success": pb.STATUS_SUCCESS,
    "error": pb.STATUS_ERROR,
    "limit": pb.STATUS_LIMIT,
}
_STATUS_NAME: Final[dict[int, Status]] = {int(number): name for name, number in _STATUS_NUMBER.items()}


F = TypeVar("F", pb.ProviderFrame, pb.HubFrame)


def _parse(kind: type[F], data: bytes, sender: str) -> F:
    try:
        frame = kind.FromString(data)
    except DecodeError as exc:
        raise StreamError(f"{len(data)} bytes that are no frame of {sender}") from exc
    if frame.seq == 0:
        raise StreamError(f"a frame of {len(data)} bytes without a sequence number")
    return frame


# -- provider -> hub ---------------------------------------------------------------------------------------------


def encode_provider_frame(
    seq: int,
    acked: int,
    credit: int,
    *,
    hello: Hello | None = None,
    actions: Sequence[ActionInfo] | None = None,
    results: Iterable[tuple[str, int, Status, bytes]] = (),
    renew: Iterable[str] = (),
) -> bytes:
    """A provider's frame as bytes; ``results`` are id, attempt, status and JSON text."""
    frame = pb.ProviderFrame(seq=seq, acked=acked, credit=credit, renew=renew)
    if hello is not None:
        frame.hello.CopyFrom(
            pb.Hello(
                version=hello.version,
                provider=hello.provider,
                auth_token=hello.token,
                session=hello.session,
                max_frame=hello.max_frame,
                holding=hello.holding,
            )
        )
    if actions is not None:
        frame.actions.actions.extend(_encode_actions(actions))
        frame.actions.SetInParent()
    add = frame.results.add
    for task_id, attempt, status, result in results:
        add(id=task_id, attempt=attempt, status=_STATUS_NUMBER[status], result=result)
    return frame.SerializeToString()


def _encode_actions(actions: Sequence[ActionInfo]) -> Iterable[pb.Action]:
    encode = msgspec.json.encode
    schemas = [
        (encode(a.payload_schema).decode(), encode(a.account_schema).decode() if a.account_schema else "")
        for a in actions
    ]
    if sum(len(payload) + len(account) for payload, account in schemas) > SCHEMAS_MAX:
        schemas = [("", "")] * len(actions)
    for action, (payload, account) in zip(actions, schemas, strict=True):
        yield pb.Action(
            name=action.name,
            description=action.description,
            timeout_s=action.timeout or 0.0,
            payload_schema=payload,
            account_schema=account,
        )


def decode_provider_frame(data: bytes) -> ProviderFrame:
    """A provider's frame from its bytes. Raises ``StreamError``."""
    frame = _parse(pb.ProviderFrame, data, "a provider")
    return ProviderFrame(
        frame.seq,
        frame.acked,
        frame.credit,
        _decode_hello(frame.hello) if frame.HasField("hello") else None,
        [_decode_action(action) for action in frame.actions.actions] if frame.HasField("actions") else None,
        [FrameResult(r.id, r.attempt, _STATUS_NAME.get(r.status, ""), r.result) for r in frame.results],
        frame.renew,
    )


def _decode_hello(hello: pb.Hello) -> Hello:
    return Hello(hello.provider, hello.auth_token, hello.session, hello.max_frame, list(hello.holding), hello.version)


def _decode_action(action: pb.Action) -> ActionInfo:
    return ActionInfo(
        name=action.name,
        description=action.description,
        timeout=action.timeout_s or None,
        payload_schema=_schema(action.payload_schema) or {},
        account_schema=_schema(action.account_schema),
        signature="",
        is_async=False,
    )


def _schema(text: str) -> dict[str, object] | None:
    try:
        return msgspec.json.decode(text, type=dict[str, object]) if text else None
    except (msgspec.DecodeError, RecursionError) as exc:
        raise StreamError("a schema that is no JSON object") from exc


# -- hub -> provider ---------------------------------------------------------------------------------------------


def encode_hub_frame(
    seq: int,
    acked: int,
    now: float,
    *,
    welcome: Welcome | None = None,
    tasks: Iterable[Task] = (),
    cancel: Iterable[str] = (),
    refused: Iterable[tuple[str, str]] = (),
    go_away: GoAway | None = None,
) -> bytes:
    """A hub's frame as bytes; ``now`` (seconds of the clock of the tasks' deadlines) turns deadlines into time left."""
    frame = pb.HubFrame(seq=seq, acked=acked, cancel=cancel)
    if welcome is not None:
        frame.welcome.version = welcome.version
        frame.welcome.lease_ms = _whole(welcome.lease_s * 1000)
        frame.welcome.max_frame = welcome.max_frame
    add = frame.tasks.add
    for task in tasks:
        entry = add(id=task.id, action=task.action, payload=task.payload, account=task.account, attempt=task.attempt)
        if task.deadline != math.inf:
            entry.time_left_us = max(1, _whole((task.deadline - now) * 1e6))
        if task.traceparent:
            entry.traceparent = task.traceparent
            if task.tracestate:
                entry.tracestate = task.tracestate
        if task.priority:
            entry.priority = task.priority
    for task_id, reason in refused:
        frame.refused.add(id=task_id, reason=reason)
    if go_away is not None:
        frame.go_away.CopyFrom(
            pb.GoAway(reason=go_away.reason, reconnect_after_ms=_whole(go_away.reconnect_after_s * 1000))
        )
    return frame.SerializeToString()


def _whole(number: float) -> int:
    """The nearest number that an unsigned field can hold."""
    return round(number) if 0 <= number < MAX_NUMBER else MAX_NUMBER if number > 0 else 0


def decode_hub_frame(data: bytes, now: float) -> HubFrame:
    """A hub's frame from its bytes; deadlines are moments of the clock ``now`` comes from. Raises ``StreamError``."""
    frame = _parse(pb.HubFrame, data, "a hub")
    welcome, go_away = frame.welcome, frame.go_away
    return HubFrame(
        frame.seq,
        frame.acked,
        Welcome(welcome.version, welcome.lease_ms / 1000, welcome.max_frame) if frame.HasField("welcome") else None,
        [_decode_task(task, now) for task in frame.tasks],
        frame.cancel,
        [(refusal.id, refusal.reason) for refusal in frame.refused],
        GoAway(go_away.reason, go_away.reconnect_after_ms / 1000) if frame.HasField("go_away") else None,
    )


def _decode_task(task: pb.Task, now: float) -> Task:
    left_us = task.time_left_us
    deadline = now + left_us / 1e6 if left_us else math.inf
    trace = task.traceparent
    state = task.tracestate if trace else ""
    return Task(task.id, task.action, task.payload, task.account, task.attempt, deadline, trace, task.priority, state)
