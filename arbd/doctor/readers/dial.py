"""A connection to where a gRPC address leads, with how far one came if it fails."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from arbd.doctor.checks.hub import Step
from arbd.errors import ArbdError

_MOST_ADDRESSES: Final = 8


class Place(NamedTuple):
    """Where an address leads: a host and a port, or the path of a Unix socket; neither: only gRPC knows."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_known(self) -> bool:
        """Whether there is somewhere to connect to."""
        return bool(self.path or self.host)


class Dialled(NamedTuple):
    """A connection, the address it leads to, and addresses of the same name that could not be reached."""

    connection: socket.socket
    address: str = ""
    unreached: Sequence[str] = ()


class StepError(ArbdError):
    """A step of the way to the hub that went wrong; ``kind``: how, where that is known."""

    def __init__(self, step: Step, words: str, kind: str = "", dialled: Dialled | None = None) -> None:
        super().__init__(words)
        self.step: Step = step
        self.kind = kind
        self.addresses = (dialled.address,) if dialled is not None and dialled.address else ()


def place_of(address: str) -> Place:
    """Where a gRPC target leads: ``host:port``, ``dns:///host:port``, ``ipv4:``, ``ipv6:``, ``unix:``."""
    scheme, _, rest = address.partition(":")
    if scheme == "unix":
        return Place(path=rest if not rest.startswith("//") else "/" + rest.lstrip("/"))
    if scheme == "unix-abstract":
        return Place(path="\0" + rest)
    if scheme in ("dns", "ipv4", "ipv6"):
        address = rest.rpartition("/")[2].partition(",")[0]
    host, _, port = address.rpartition(":")
    return Place(host.strip("[]"), int(port)) if host and port.isdecimal() else Place()


def dial(place: Place, timeout_s: float) -> Dialled:
    """Connect. Raises ``StepError``."""
    if place.path:
        return _unix(place.path, timeout_s)
    return _first_of(_resolved(place, timeout_s), timeout_s)


def _unix(path: str, timeout_s: float) -> Dialled:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        kinds = {errno.ECONNREFUSED: "refused", errno.ENOENT: "no socket", errno.EACCES: "closed"}
        kind = kinds.get(error.errno or 0, "")
        raise StepError("connect", error.strerror or str(error), kind) from error
    return Dialled(connection)


def _resolved(place: Place, timeout_s: float) -> list[tuple[Any, ...]]:
    """The addresses of a name; in a thread of its own, as nothing else gives a name server a time limit."""
    answers: list[list[tuple[Any, ...]]] = []
    errors: list[OSError | UnicodeError] = []

    def ask() -> None:
        try:
            answers.append(socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True, name="arbd-doctor-name")
    thread.start()
    thread.join(timeout_s)
    if answers:
        return answers[0][:_MOST_ADDRESSES]
    if errors:
        words = getattr(errors[0], "strerror", None) or str(errors[0])
        raise StepError("name", f"the name {place.host} leads nowhere: {words}")
    raise StepError("name", f"no name server answers for {place.host} within {timeout_s:g} s")


def _first_of(addresses: Sequence[tuple[Any, ...]], timeout_s: float) -> Dialled:
    """Try all addresses side by side; the first in order that can be reached, when each has an outcome."""
    tried: dict[int, tuple[socket.socket, str]] = {}
    outcome: dict[str, int] = {}
    poll = select.poll()
    for family, kind, protocol, _, address in addresses:
        name = _written(address)
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        code = connection.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            outcome[name] = code
            connection.close()
            continue
        tried[connection.fileno()] = connection, name
        poll.register(connection, select.POLLOUT)
    deadline = time.monotonic() + timeout_s
    waiting = set(tried)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(left * 1000):
            poll.unregister(fd)
            waiting.discard(fd)
            connection, name = tried[fd]
            outcome[name] = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return _chosen(list(tried.values()), outcome, timeout_s)


def _chosen(tried: Sequence[tuple[socket.socket, str]], outcome: dict[str, int], timeout_s: float) -> Dialled:
    reached = [(connection, name) for connection, name in tried if outcome.get(name) == 0]
    for connection, _ in tried:
        if not reached or connection is not reached[0][0]:
            with contextlib.suppress(OSError):
                connection.close()
    names = list(dict.fromkeys([*outcome, *(name for _, name in tried)]))
    if reached:
        connection, name = reached[0]
        return Dialled(connection, name, [each for each in names if outcome.get(each) != 0])
    codes = [code for code in outcome.values() if code]
    told = ", ".join(names)
    if not codes:
        raise StepError("connect", f"{told} does not answer within {timeout_s:g} s")
    code = errno.ECONNREFUSED if errno.ECONNREFUSED in codes else codes[0]
    kind = "refused" if code == errno.ECONNREFUSED else ""
    raise StepError("connect", f"{told}: {_reason(code)}", kind)


def _reason(code: int) -> str:
    import os

    return os.strerror(code)


def _written(address: Sequence[Any]) -> str:
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
