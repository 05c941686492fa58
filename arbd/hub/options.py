"""From settings to what a link is told. Not which link: that is ``arbd.hub.connect``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from arbd.config import Settings
from arbd.encoding import Encoder
from arbd.errors import ConfigError
from arbd.hub.channel import MAX_MESSAGE, Tls
from arbd.hub.grpc_unary import LinkOptions
from arbd.response import result_too_large

_ENVELOPE_ROOM: Final = 64 * 1024  # what a message holds beside its large parts


def read_tls(settings: Settings) -> Tls:
    """The TLS files. Raises ``ConfigError`` for those that cannot be read."""
    problems: list[str] = []
    tls = Tls(
        ca=_read(settings.hub_tls_ca, "hub.tls_ca", problems),
        cert=_read(settings.hub_tls_cert, "hub.tls_cert", problems),
        key=_read(settings.hub_tls_key, "hub.tls_key", problems),
    )
    if problems:
        raise ConfigError(problems)
    return tls


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
        piggyback=settings.hub_piggyback,
        tls=settings.hub_uses_tls,
        tls_options=tls,
        # A task above max_payload must still arrive, to be refused with a clear result.
        too_large_result=lambda task, size, limit: encoder.encode_any_size(task.action, result_too_large(size, limit)),
        max_receive=max_receive(settings),
    )


def max_receive(settings: Settings) -> int:
    """Bytes of the largest message that a hub may send."""
    return min(MAX_MESSAGE, 4 * settings.max_payload + _ENVELOPE_ROOM)


def _read(path: str | None, name: str, problems: list[str]) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        problems.append(f"{name}: {path} cannot be read: {exc.strerror}")
        return None
