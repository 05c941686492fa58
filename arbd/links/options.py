"""The options of a link, made from the settings. Not which link: that is ``arbd.links.connect``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from arbd.links.pace import REFUSED_INTERVAL_S
from arbd.model.encoding import Encoder
from arbd.model.response import result_too_large
from arbd.model.task import Task
from arbd.settings.table import Settings
from arbd.wire.grpc_channel import MAX_MESSAGE, Tls

_ENVELOPE_ROOM: Final = 64 * 1024  # what a message holds beside its large parts


def plain_too_large(task: Task, size: int, limit: int) -> bytes:
    """The response that stands for a result of ``size`` bytes; ``limit`` in bytes, 0 = unknown. Without an envelope."""
    return msgspec.json.encode(result_too_large(size, limit))


class LinkOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a link to a hub. Lengths of time in seconds, sizes in bytes.

    ``long_poll_s``: the longest the hub may hold a GetTask; the call's deadline is ``poll_margin_s`` later, so that it
    never meets a reply. ``ask_hold_s``: how long it is asked to hold one.
    ``max_polls``, ``max_submits``: calls under way at most. ``idle_min_s``, ``idle_max_s``: first and longest back-off
    at a hub that answers "nothing" at once. ``refused_interval_s``: between two calls with a token the hub refuses.
    ``tls``: ``None`` = as the URL says. ``max_message``: larger results are replaced before they are sent.
    ``max_receive``: a larger task cannot be received at all, nor answered. ``reads_trace``: look for a trace context in
    the metadata of a unary answer, which takes microseconds for each task. ``too_large_result``: makes the response
    that stands for a result that is too large, from its task, its size and the limit (0 = unknown).
    """

    url: str
    provider: str
    token: str = ""
    long_poll_s: float = 30.0
    poll_margin_s: float = 10.0
    ask_hold_s: float = 1.0
    submit_timeout_s: float = 10.0
    max_polls: int = 32
    max_submits: int = 32
    idle_min_s: float = 0.01
    idle_max_s: float = 1.0
    refused_interval_s: float = REFUSED_INTERVAL_S
    tls: bool | None = None
    tls_options: Tls = Tls()
    max_message: int = 4 * 1024 * 1024
    max_receive: int = 256 * 1024 * 1024
    reads_trace: bool = False
    too_large_result: Callable[[Task, int, int], bytes] = plain_too_large


def link_options(settings: Settings, encoder: Encoder, tls: Tls) -> LinkOptions:
    """Options of a link; ``encoder`` makes the responses that stand for results too large to be sent."""
    return LinkOptions(
        url=settings.hub_url,
        provider=settings.name,
        token=settings.hub_auth_token,
        long_poll_s=settings.hub_long_poll,
        submit_timeout_s=settings.hub_submit_timeout,
        max_polls=settings.hub_max_polls,
        max_submits=settings.hub_max_submits,
        idle_min_s=settings.hub_idle_min,
        idle_max_s=settings.hub_idle_max,
        tls=settings.hub_uses_tls,
        tls_options=tls,
        # A task above max_payload must still arrive, to be refused with a clear result.
        too_large_result=lambda task, size, limit: encoder.encode_any_size(task.action, result_too_large(size, limit)),
        max_receive=max_receive(settings),
        reads_trace=settings.tracing == "otel",
    )


def max_receive(settings: Settings) -> int:
    """Bytes of the largest message that a hub may send."""
    return min(MAX_MESSAGE, 4 * settings.max_payload + _ENVELOPE_ROOM)
