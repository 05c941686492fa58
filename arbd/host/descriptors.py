"""The open descriptors of this process, as the kernel tells them: what each is, and whom a socket talks to.

kinds     file  directory  socket  pipe  char  block  other, or the name of an anonymous one: eventpoll, eventfd,
          timerfd, inotify, io_uring, ...
identity  device and inode: the same number may be something else by the next time
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from typing import Final, Literal, NamedTuple

from arbd.host import reserve

_KINDS: Final = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISCHR, "char"),
    (stat.S_ISBLK, "block"),
)
_ANONYMOUS: Final = "anon_inode:"


class Descriptor(NamedTuple):
    """One open descriptor. ``target`` is what its link in ``/proc`` says, ``links`` how many names a file has."""

    number: int
    kind: str
    target: str
    identity: tuple[int, int]
    links: int
    flags: int

    @property
    def is_written(self) -> bool:
        """Whether it may be written."""
        return self.flags & os.O_ACCMODE != os.O_RDONLY

    @property
    def is_read(self) -> bool:
        """Whether it may be read."""
        return self.flags & os.O_ACCMODE != os.O_WRONLY


class Ends(NamedTuple):
    """What a socket is bound and connected to. ``kind`` is ``tcp``, ``udp``, ``unix`` or the number of its family."""

    kind: str
    state: Literal["listening", "connected", "unconnected", "unknown"]
    local: str = ""
    peer: str = ""
    port: int = 0


def open_now() -> list[Descriptor]:
    """Every open descriptor of this process. Raises ``OSError`` if not one is left to look with."""
    return sorted(descriptor for number in numbers() if (descriptor := _look(number)) is not None)


def numbers() -> list[int]:
    """The numbers of every open descriptor of this process, one among them that is not open any more. Raises
    ``OSError`` if not one is left to look with."""
    return reserve.lend(_numbers)


def _numbers() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/fd")]


def identity_of(number: int) -> tuple[int, int] | None:
    """What has that number now; ``None``: nothing."""
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _look(number: int) -> Descriptor | None:
    try:
        found = os.fstat(number)
        target = os.readlink(f"/proc/self/fd/{number}")
        flags = fcntl.fcntl(number, fcntl.F_GETFL)
    except OSError:  # it was the one that the directory was read with
        return None
    kind = next((kind for is_kind, kind in _KINDS if is_kind(found.st_mode)), None) or anonymous_kind(target)
    return Descriptor(number, kind, target, (found.st_dev, found.st_ino), found.st_nlink, flags)


def anonymous_kind(target: str) -> str:
    """The name of what has no file: ``eventpoll`` of ``anon_inode:[eventpoll]``."""
    return target.removeprefix(_ANONYMOUS).strip("[]") if target.startswith(_ANONYMOUS) else "other"


def ends_of(number: int) -> Ends:
    """What a socket is bound and connected to. It is not touched: nothing is sent, and it stays open."""
    try:
        found = socket.socket(fileno=number)
    except OSError:
        return Ends("socket", "unknown")
    try:
        return _ends(found)
    finally:
        found.detach()


def _ends(found: socket.socket) -> Ends:
    kind = _socket_kind(found)
    local = _address(found.getsockname)
    if _option(found, socket.SO_ACCEPTCONN):
        return Ends(kind, "listening", _written(local), port=_port(local))
    try:
        peer = found.getpeername()
    except OSError:
        return Ends(kind, "unconnected", _written(local), port=_port(local))
    return Ends(kind, "connected", _written(local), _written(peer), _port(local))


def _socket_kind(found: socket.socket) -> str:
    if found.family == socket.AF_UNIX:
        return "unix"
    if found.family in (socket.AF_INET, socket.AF_INET6):
        return {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}.get(found.type, "raw")
    return getattr(found.family, "name", str(found.family)).removeprefix("AF_").lower()


def _option(found: socket.socket, option: int) -> int:
    try:
        return found.getsockopt(socket.SOL_SOCKET, option)
    except OSError:
        return 0


def _address(ask: object) -> object:
    try:
        return ask()  # type: ignore[operator] # a bound method of a socket
    except OSError:
        return ""


def _written(address: object) -> str:
    if isinstance(address, tuple):
        host, port = (*map(str, address), "")[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(address, bytes):
        return "@" + address.strip(b"\0").decode("utf-8", "replace")
    return str(address)


def _port(address: object) -> int:
    return address[1] if isinstance(address, tuple) and len(address) > 1 and isinstance(address[1], int) else 0
