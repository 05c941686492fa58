"""Calls to the hub by gRPC, as the daemon makes them: one that no hub has, and a stream that takes no task."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from threading import Event
from typing import Any, Final

import msgspec

from arbd.doctor.checks.hub import HubFacts, TokenAnswer
from arbd.errors import ArbdError
from arbd.settings.secrets import swap
from arbd.settings.table import REDACTED, Settings
from arbd.wire import stream_frames as frames  # first: it sets what gRPC reads when it is imported
from arbd.wire.grpc_channel import Target, Tls, channel_options, require_room

import grpc  # isort: skip

_PROBE: Final = "/Hub/Probe"
_MOST: Final = 4 << 20
_DEAD: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_REFUSED: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_MOST_WORDS: Final = 300
_NO_GRPC: Final = "Received http2 header with status"  # gRPC's words for an answer in HTTP of something else


def ask(
    facts: HubFacts, settings: Settings, target: Target, tls: Tls, *, is_running: bool, timeout_s: float
) -> HubFacts:
    """The facts with what the calls came to. Raises ``OSError`` where there is nothing left to make them with."""
    require_room()
    channel = _channel(target, tls)
    try:
        return _ask(channel, facts, settings, is_running=is_running, timeout_s=timeout_s)
    finally:
        channel.close()


def _ask(channel: grpc.Channel, facts: HubFacts, settings: Settings, *, is_running: bool, timeout_s: float) -> HubFacts:
    token = settings.hub_auth_token
    probe = channel.unary_unary(_PROBE, None, None)
    code, words, _ = _answer(probe, token, timeout_s)
    if code in _DEAD:
        silent = "silent" if code is grpc.StatusCode.DEADLINE_EXCEEDED else ""
        error = f"no answer to a call within {timeout_s:g} s" if silent else words
        return msgspec.structs.replace(facts, failed="answer", kind=silent, error=error)
    if words.startswith(_NO_GRPC):
        return msgspec.structs.replace(facts, failed="answer", kind="no grpc", error=f"it answers in HTTP: {words}")
    _, _, answer_s = _answer(probe, token, timeout_s)  # the first one also made the connection
    facts = msgspec.structs.replace(facts, answer_s=answer_s)
    if is_running:
        return msgspec.structs.replace(facts, token="running")
    if settings.hub_protocol == "unary" or not settings.name:
        return msgspec.structs.replace(facts, token="unknown")
    answer, protocol, error = _greet(channel, settings, timeout_s)
    return msgspec.structs.replace(facts, token=answer, protocol=protocol, error=error)


def _channel(target: Target, tls: Tls) -> grpc.Channel:
    options = channel_options(max_send=-1, max_receive=_MOST)
    if not target.tls:
        return grpc.insecure_channel(target.address, options=options)
    return grpc.secure_channel(target.address, grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert), options=options)


def _answer(call: Any, token: str, timeout_s: float) -> tuple[grpc.StatusCode, str, float]:
    """The status of a call with no content, its words, and how long it took."""
    began = time.monotonic()
    try:
        call(b"", timeout=timeout_s)
        code, words = grpc.StatusCode.OK, ""
    except grpc.RpcError as error:
        code, words = error.code(), _safe(error.details() or "", token)
    return code, words, time.monotonic() - began


def _greet(channel: grpc.Channel, settings: Settings, timeout_s: float) -> tuple[TokenAnswer, str, str]:
    """What the hub says to a hello with this token: credit 0, so that it sends no task, and a session of its own, so
    that no other is disturbed."""
    done, token = Event(), settings.hub_auth_token
    hello = frames.Hello(settings.name, settings.hub_auth_token, uuid.uuid4().hex, frames.USUAL_MAX_FRAME)

    def words() -> Iterator[bytes]:
        yield frames.encode_provider_frame(1, 0, 0, hello=hello)
        done.wait(timeout_s)  # then this side has nothing more to say, and the stream ends

    call: Any = channel.stream_stream(frames.METHOD, None, None)(words(), timeout=timeout_s)
    try:
        frame = frames.decode_hub_frame(next(call), 0.0)
        return ("taken" if frame.welcome is not None else "unknown"), "stream", ""
    except StopIteration:
        return "unknown", "stream", ""
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        if code in _REFUSED:
            return "refused", "stream", _safe(error.details() or "", token)
        return "unknown", "unary" if code is grpc.StatusCode.UNIMPLEMENTED else "", ""
    except ArbdError:  # no frame of the stream protocol
        return "unknown", "", ""
    finally:
        done.set()
        call.cancel()


def _safe(words: str, token: str) -> str:
    """The hub's words without the token, which it may quote, and not too many of them."""
    words = swap(words, token, REDACTED) if token else words
    return words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}..."
