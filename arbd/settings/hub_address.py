"""What an address of a hub says of the way there: whether it is encrypted, and whether it leaves this machine. Pure.

How gRPC is told of it is ``arbd.wire.grpc_channel``.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import unquote

_ENCRYPTED: Final = ("grpcs:", "https:")
_OF_THIS_MACHINE: Final = ("unix:", "unix-abstract:")
_SCHEME: Final = re.compile(r"^(?:dns://[^/]*/|dns:|ipv4:|ipv6:|grpcs?://|https?://)")
_SHORT_LOOPBACK: Final = re.compile(r"127(?:\.[0-9]{1,3}){1,3}")  # 127.1 as well
_LOCAL_NAMES: Final = frozenset({"localhost", "ip6-localhost", "localhost.localdomain"})


def asks_for_tls(address: str) -> bool:
    """Whether the scheme of an address asks for TLS."""
    return address.startswith(_ENCRYPTED)


def is_local(address: str) -> bool:
    """Whether what goes there stays on this machine: a Unix socket, or the loopback. Of several addresses: all."""
    if address.startswith(_OF_THIS_MACHINE):
        return True
    # As gRPC reads it: 127.0.0.1%2eexample:1 is a name.
    return all(map(_is_loopback, unquote(_SCHEME.sub("", address)).split(",")))


def _is_loopback(host_port: str) -> bool:
    host, colon, port = host_port.rstrip("/").rpartition(":")
    if not colon or not port.isdigit():
        host = host_port.rstrip("/")
    host = host.strip("[]").lower().rstrip(".")
    if host in _LOCAL_NAMES:
        return True
    if _SHORT_LOOPBACK.fullmatch(host):
        return all(int(part) < 256 for part in host.split("."))  # else it is a name, for a server of names to answer
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False  # a name: whatever it stands for today, tomorrow it may be another host
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
