"""The sockets on which a daemon listens: its control socket, and the HTTP of ``metrics.listen``. Both are tried before
anything of it is started, and told together where they cannot be had."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from arbd.control import server
from arbd.control.http_request import is_loopback
from arbd.errors import ConfigError, os_reason
from arbd.host import http_listener
from arbd.host.control_socket import ControlSocket
from arbd.logs import get_logger
from arbd.settings.kinds import split_address
from arbd.settings.table import Settings


@contextmanager
def opened(settings: Settings) -> Iterator[tuple[ControlSocket | None, socket.socket | None]]:
    """The control socket and the listener for HTTP, each ``None`` where the settings want none. Raises ``ConfigError``
    with the problems of both."""
    with ExitStack() as sockets:
        problems: list[str] = []
        control = listener = None
        try:
            control = sockets.enter_context(server.opened(settings))
        except ConfigError as error:
            problems += error.problems
        try:
            listener = _http(settings)
        except ConfigError as error:
            problems += error.problems
        if listener is not None:
            sockets.callback(listener.close)
        if problems:
            raise ConfigError(problems)
        yield control, listener


def _http(settings: Settings) -> socket.socket | None:
    where = settings.metrics_listen
    if where is None:
        return None
    address, port = split_address(where)
    try:
        listener = http_listener.listen(address, port)
    except OSError as error:
        hint = "see with `ss -ltnp` who has that port, or name another one"
        raise ConfigError([f"metrics.listen {where}: {os_reason(error)}; {hint}"]) from error
    if not is_loopback(address):
        get_logger("arbd.http").warning(
            "metrics_off_loopback",
            address=http_listener.shown(listener),
            hint="whoever reaches this address can read the metrics and the status of this daemon, without a password; "
            "metrics.listen with a port alone is for this machine only",
        )
    return listener
