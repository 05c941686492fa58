"""A listening TCP socket on one IP address. The supervisor holds it, so that its port is never lost to another process
while the one that serves on it is replaced."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

BACKLOG: Final = 1024  # a connection that finds no room here comes a second later, and so would a scrape


def listen(address: str, port: int) -> socket.socket:
    """Listen; it does not block, and is closed on exec. Raises ``OSError``."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def shown(listener: socket.socket) -> str:
    """Where it listens, as it stands in a URL."""
    address, port = listener.getsockname()[:2]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
