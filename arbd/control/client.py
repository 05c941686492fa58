"""The asking end of the control socket: finds a daemon's socket, sends one request, returns the reply.

    which daemon?   a path is its socket; a name is a provider's; nothing: the one daemon there is
    ask             connect ─> is it a daemon of this user, or root's? ─> request ─> reply, all within a timeout

Plain blocking sockets: a command has nothing else to do. Everything that can go wrong is a ``ControlError`` that says
what to do about it.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from arbd.control import protocol
from arbd.control.names import SocketName, matches, matches_number, parse
from arbd.control.protocol import ControlProtocolError, Failure
from arbd.errors import ControlError
from arbd.host import control_socket, runtime_dir
from arbd.settings.table import Settings

ASK_TIMEOUT_S: Final = 5.0  # a daemon answers in a millisecond
_CHUNK: Final = 64 * 1024
_R = TypeVar("_R", bound=protocol.ControlReply)


class Found(NamedTuple):
    """A daemon that listens."""

    name: SocketName
    path: Path


def find(daemon: str | None, settings: Settings) -> Path:
    """The socket of the daemon that is meant.

    ``daemon`` is its provider's name, ``name@2`` for the second daemon of that, the path of a socket (which begins with
    ``/`` or ``.``, or ends with ``.sock``), or ``None`` for the only one there is.
    ``settings`` say where to look. Raises ``ControlError``.
    """
    if daemon is not None and (daemon.startswith(("/", "./", "../")) or daemon.endswith(".sock")):
        return Path(daemon)
    if daemon is None and settings.control_socket not in ("auto", "off"):
        return Path(settings.control_socket)
    directories = runtime_dir.for_command(settings.runtime_dir, os.environ, os.geteuid())
    closed: list[Path] = []
    running = list(_running_in(directories, closed))
    meant = running if daemon is None else _meant(daemon, running)
    if len(meant) == 1:
        return meant[0].path
    if meant:
        raise ControlError(f"several daemons are running; name one of {_listed(meant)}")
    raise ControlError(_none(daemon, running, directories, closed))


def running(settings: Settings) -> list[str]:
    """The daemons that listen where ``settings`` say: names by which each can be told from the others."""
    directories = runtime_dir.for_command(settings.runtime_dir, os.environ, os.geteuid())
    return _names(list(_running_in(directories, [])))


def ask(path: Path, request: protocol.ControlRequest, expected: type[_R], timeout_s: float = ASK_TIMEOUT_S) -> _R:
    """Send a request, wait for its reply. Raises ``ControlError``."""
    deadline = time.monotonic() + timeout_s
    try:
        with control_socket.connect(path, timeout_s) as connection:
            _trust(path, connection)
            _send(connection, protocol.encode(request))
            reply = protocol.decode_reply(_receive_line(connection, deadline))
    except ControlProtocolError as error:
        raise ControlError(f"{path}: {error}") from error
    except OSError as error:
        raise ControlError(_unreachable(path, error, timeout_s)) from error
    if isinstance(reply, Failure):
        raise ControlError(reply.message)
    if not isinstance(reply, expected):
        raise ControlError(f"{path}: the daemon answered {type(reply).__name__} to {type(request).__name__}")
    return reply


# -- which one -------------------------------------------------------------------------------------------------------


def _running_in(directories: Sequence[Path], closed: list[Path]) -> Iterator[Found]:
    """Daemons that listen in these directories; ``closed`` collects those that may not be looked into."""
    for directory in directories:
        try:
            for file in sorted(os.listdir(directory)):
                name = parse(file)
                if name is not None and control_socket.is_listening(directory / file):
                    yield Found(name, directory / file)
        except PermissionError:
            closed.append(directory)
        except OSError:
            pass  # it does not exist, or not any more


def _meant(daemon: str, running: Sequence[Found]) -> list[Found]:
    of_provider = [found for found in running if matches(found.name, daemon)]
    return of_provider or [found for found in running if matches_number(found.name, daemon)]


def _listed(found: Sequence[Found]) -> str:
    return ", ".join(_names(found))


def _names(found: Sequence[Found]) -> list[str]:
    """The shortest name for each by which it can be told from the others."""
    providers = Counter(each.name.provider for each in found)
    selectors = Counter(each.name.selector for each in found)
    names = []
    for each in found:
        if providers[each.name.provider] == 1:
            names.append(each.name.provider)
        elif selectors[each.name.selector] == 1:
            names.append(each.name.selector)
        else:
            names.append(str(each.path))  # of the same name, in different directories
    return names


def _none(daemon: str | None, running: Sequence[Found], directories: Sequence[Path], closed: Sequence[Path]) -> str:
    sought = "no daemon is running" if daemon is None else f"no daemon of provider {daemon!r} is running"
    if running:
        return f"{sought}; there is {_listed(running)}"
    seen = [str(each) for each in directories if each not in closed]
    looked = [f"looked into {', '.join(seen)}"] if seen else []
    if closed:
        looked.append(f"not allowed to look into {', '.join(map(str, closed))}: ask as root or as the daemon's user")
    starts = "" if closed else "`arbd run TARGET` starts one, and "
    return f"{sought} ({'; '.join(looked)}); {starts}the path of its control socket finds any"


# -- asking ----------------------------------------------------------------------------------------------------------


def _trust(path: Path, connection: socket.socket) -> None:
    """Raise ``ControlError`` unless whoever listens is this user or root: in a directory that others can write to,
    anybody could pretend to be the daemon."""
    own, peer = os.geteuid(), control_socket.peer_of(connection)
    if own != 0 and peer.uid not in (own, 0):
        raise ControlError(f"{path}: it belongs to user {peer.uid}, who could be anybody; ask as that user or as root")


def _send(connection: socket.socket, line: bytes) -> None:
    try:
        connection.sendall(line)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it did not want to hear the request, and hung up; why, it has said before


def _receive_line(connection: socket.socket, deadline: float) -> bytes:
    received = bytearray()
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        data = connection.recv(_CHUNK)
        if not data:
            raise ConnectionResetError
        received += data
        if b"\n" in data:
            return bytes(received).partition(b"\n")[0]
        if len(received) > protocol.MAX_REPLY:
            raise protocol.too_long(protocol.MAX_REPLY)


def _unreachable(path: Path, error: OSError, timeout_s: float) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{path}: there is no such socket; `arbd status` without a name finds a running daemon"
    if isinstance(error, ConnectionRefusedError):
        return f"{path}: nobody listens there; its daemon has ended"
    if isinstance(error, PermissionError):
        return f"{path}: permission denied; ask as the daemon's user or as root"
    if isinstance(error, TimeoutError | BlockingIOError):
        return f"{path}: the daemon did not answer within {timeout_s:g} s; it is stopped or overloaded"
    if isinstance(error, ConnectionError):
        return f"{path}: the daemon hung up without an answer; it may be stopping, or have no descriptor left"
    return f"{path}: {error.strerror or error}"
