"""How a gRPC channel to a hub is opened: addresses, TLS, channel options. Not who calls what on it.

form of the address                       connection
----------------------------------------  ----------------------------------------------
host:port   dns:///host:port   unix:path  as ``tls`` says; plaintext by default
grpc://host:port    http://host:port      plaintext
grpcs://host:port   https://host:port     TLS
"""

from __future__ import annotations

import errno
import os
import threading
from typing import Final
from urllib.parse import urlsplit

import grpc
import grpc.aio
import msgspec

from arbd.errors import ConfigError

MAX_MESSAGE: Final = (1 << 31) - 1
"""Bytes of the largest message that can be had: gRPC keeps limits in a C int, protobuf serializes no more than that."""

KEEPALIVE_S: Final = 300
"""Seconds between pings on a silent connection. Servers drop clients that ping more often, unless told otherwise."""

ChannelOptions = list[tuple[str, int | str]]

_ROOM: Final = 16  # descriptors that gRPC may need to be set up; it was seen to need six

_PLAINTEXT: Final = frozenset({"grpc", "http"})
_TLS: Final = frozenset({"grpcs", "https"})
_PASSED_ON: Final = frozenset({"dns", "unix", "unix-abstract", "ipv4", "ipv6"})


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """TLS material in PEM. Without ``ca`` the system's roots count; ``cert`` and ``key`` identify the client.

    ``server_name`` is checked against the hub's certificate instead of the host name in the address.
    """

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None
    server_name: str = ""


class Target(msgspec.Struct, frozen=True):
    """A gRPC target name, and whether the connection to it is encrypted."""

    address: str
    tls: bool


def parse_url(url: str, tls: bool | None = None) -> Target:
    """The target that ``url`` names. ``tls``: ``None`` = what the URL says. Raises ``ConfigError`` for what gRPC cannot
    use."""
    scheme, sep, rest = url.partition(":")
    if sep and scheme in _PASSED_ON and rest:
        return Target(url, bool(tls))
    if "://" not in url:
        scheme, url = "", f"//{url}"
    encrypted = scheme in _TLS
    try:
        netloc, path = urlsplit(url)[1:3]
        problem = _problem(scheme, netloc, path, encrypted, tls)
    except (
        ValueError
    ):  # brackets around what is no IPv6 address, letters that stand for a slash; it may hold a password
        problem = "that cannot be read as an address"
    if problem:
        raise ConfigError([f"hub.url: {problem}; write host:port, grpcs://host:port, dns:///host:port or unix:path"])
    return Target(netloc, encrypted if tls is None else tls)


def _problem(scheme: str, netloc: str, path: str, encrypted: bool, tls: bool | None) -> str:
    if scheme and scheme not in _PLAINTEXT | _TLS:
        return f"the scheme {scheme!r} is unknown"
    if "@" in netloc:
        return "user names and passwords have no meaning here"
    if path not in ("", "/"):
        return f"a path ({path!r}) has no meaning here"
    host, _, port = netloc.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        return f"{netloc!r} is no host and port"
    if encrypted and tls is False:
        return f"the scheme {scheme!r} asks for TLS, and hub.tls forbids it"
    return ""


def channel_options(*, max_send: int, max_receive: int) -> ChannelOptions:
    """Options of every client channel; sizes in bytes, -1 = no limit."""
    return [
        ("grpc.max_send_message_length", min(max_send, MAX_MESSAGE)),
        ("grpc.max_receive_message_length", min(max_receive, MAX_MESSAGE)),
        ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.max_pings_without_data", 0),  # a long poll is a connection without data
        # How long a connection attempt may take, and the pauses between attempts (default: up to 120 s).
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.enable_http_proxy", 0),
        # gRPC retries some calls by itself; one policy (arbd.links.unary.policy) decides here.
        ("grpc.enable_retries", 0),
        # Channels to one address share connections otherwise, and a new channel would get the dead one.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def open_channel(target: Target, tls: Tls, options: ChannelOptions) -> grpc.aio.Channel:
    """A channel; nothing is connected yet, and a hub that is down is no error.

    Raises ``OSError`` if the process has no descriptor or no thread left.
    """
    require_room()
    if not target.tls:
        return grpc.aio.insecure_channel(target.address, options=options)
    if tls.server_name:
        options = [*options, ("grpc.ssl_target_name_override", tls.server_name)]
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert)
    return grpc.aio.secure_channel(target.address, credentials, options=options)


def require_room() -> None:
    """Raise ``OSError`` while there are no descriptors, or no thread, to set gRPC up with.

    Seen with grpcio 1.85: the first channel of a process with none left ends it by a segmentation fault or an abort.
    Once it is set up, it says UNAVAILABLE.
    """
    held: list[int] = []
    try:
        held.extend(os.eventfd(0, os.EFD_CLOEXEC) for _ in range(_ROOM))
        thread = threading.Thread(target=int)
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from error
    finally:
        for fd in held:
            os.close(fd)
    thread.join()
