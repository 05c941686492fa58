"""Where an embedded hub listens: what an address says, and whether it can be had, found out before gRPC is asked.

gRPC takes ``127.0.0.1:`` for port 443, and says why it cannot listen in lines of its own on standard error.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import closing
from typing import Any, Final, NamedTuple

from arbd.errors import HubError, os_reason

_FORMS: Final = "write HOST:PORT, such as 127.0.0.1:50051 (port 0: any free one), or unix:PATH"
_MOST_PORT: Final = 65_535


class ListenAddress(NamedTuple):
    """What an address says: a host and a port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""


def parse_listen(text: str) -> ListenAddress:
    """The parts of an address. Raises ``ValueError`` with a sentence about what is wrong with it."""
    scheme, _, path = text.partition(":")
    if scheme in ("unix", "unix-abstract"):
        if not path:
            raise ValueError(f"{text!r} names no socket; {_FORMS}")
        return ListenAddress(path=path.removeprefix("//") if scheme == "unix" else f"\0{path}")
    if "://" in text:
        raise ValueError(f"{text!r} is a URL, and a hub listens on an address; {_FORMS}")
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise ValueError(f"{text!r} has no port; {_FORMS}")
    if not port:
        raise ValueError(f"{text!r} has no port behind the colon; {_FORMS}")
    if not host:
        raise ValueError(f"{text!r} has no host before the colon; {_FORMS}")
    if not (port.isascii() and port.isdigit()) or int(port) > _MOST_PORT:
        raise ValueError(f"{port!r} is no port: those are 0 to {_MOST_PORT}; {_FORMS}")
    return ListenAddress(host.strip("[]"), int(port))


def require_listen(text: str) -> None:
    """Raise ``HubError`` in words if nobody can listen on this address now. Whoever is quicker may still have it."""
    try:
        address = parse_listen(text)
    except ValueError as error:
        raise HubError("INVALID_ARGUMENT", f"the hub cannot listen there: {error}") from error
    if address.path:
        _require_directory(text, address.path)
        return
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise HubError(
            "UNAVAILABLE", f"the hub cannot listen on {text}: the name {address.host} leads nowhere: {reason}"
        ) from error
    for family, kind, protocol, _, place in found:
        _require_free(text, address, (family, kind, protocol), place)


def _require_free(text: str, address: ListenAddress, how: tuple[int, int, int], place: Any) -> None:
    try:
        with closing(socket.socket(*how)) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does: what lingers is in nobody's way
            trial.bind(place)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return  # one of several addresses of the name
        raise HubError("UNAVAILABLE", f"the hub cannot listen on {text}: {_why(error, address)}") from error


def _why(error: OSError, address: ListenAddress) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {address.port} is taken, perhaps by another hub; end that, or choose another by --listen"
    if error.errno == errno.EACCES:
        return f"port {address.port} is for root only; choose one from 1024 on"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address.host} is no address of this machine; 127.0.0.1 is for this machine alone, 0.0.0.0 for all"
    return os_reason(error)


def _require_directory(text: str, path: str) -> None:
    directory = os.path.dirname(path) or "."
    if path.startswith("\0"):
        return
    if not os.path.isdir(directory):
        raise HubError("UNAVAILABLE", f"the hub cannot listen on {text}: there is no directory {directory}")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise HubError("UNAVAILABLE", f"the hub cannot listen on {text}: you may not write into {directory}")
