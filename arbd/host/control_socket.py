"""Named Unix stream sockets: listening, connecting, and the credentials of the other end.

Invariants:

* a socket is open to its owner alone (0600) from the moment its name exists;
* a name belongs to whoever listens on it. One that was left behind by a dead process is taken over; one that is in use
  never is: processes that start at the same moment take their turn by a lock on the directory;
* nothing but a socket is ever removed, and at the end only the own one.

Names are reached through a descriptor of their directory, so a path may be longer than the 107 bytes of a socket
address.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

_BACKLOG: Final = 16
_LOCK_TIMEOUT_S: Final = 1.0  # it is held for microseconds, by processes of the same user
_LOCK_PAUSE_S: Final = 0.005
_UCRED: Final = struct.Struct("3i")
_TIMEVAL: Final = struct.Struct("ll")


class PeerCredentials(NamedTuple):
    """The process at the other end, as it was when it connected."""

    pid: int
    uid: int
    gid: int


class ControlSocket(NamedTuple):
    """A socket that listens, does not block, and is closed on exec."""

    path: Path
    listener: socket.socket
    inode: int

    def close(self) -> None:
        """Stop listening and remove the name, unless it is somebody else's by now."""
        self.listener.close()
        try:
            if os.stat(self.path, follow_symlinks=False).st_ino == self.inode:
                os.unlink(self.path)
        except OSError:
            pass  # there is no such name any more, or it cannot be removed: then the next daemon takes it over


def listen(directory: Path, names: Iterable[str]) -> ControlSocket:
    """Listen under the first of ``names`` that is free. Raises ``OSError`` that says why there is none."""
    with _opened(directory) as at, _locked(at, directory):
        for name in names:
            if _free(at, name):
                return _bind(at, directory, name)
    raise OSError(errno.EADDRINUSE, "another process listens there, or it is no socket", str(directory / name))


def connect(path: Path, timeout: float) -> socket.socket:
    """A connection to whoever listens at ``path``, with this timeout for all that is done with it.

    Raises ``OSError``; ``BlockingIOError`` if the queue of those who wait was full all the time.
    """
    with _opened(path.parent) as at:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Python's own timeout would not wait for a place in a full queue: a Unix socket that does not block fails.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(timeout))
            connection.connect(_address(at, path.name))
            connection.settimeout(timeout)
        except BaseException:
            connection.close()
            raise
        return connection


def is_listening(path: Path) -> bool:
    """Whether somebody listens at ``path``, or might: a socket that may not be asked counts as alive."""
    with _opened(path.parent) as at:
        return _answers(at, path.name)


def has_hung_up(connection: socket.socket) -> bool:
    """Whether the other side has closed its end altogether; one that only has no more to say still waits for an
    answer."""
    if connection.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), 0)  # POLLHUP and POLLERR are told in any case
    return bool(poll.poll(0))


def peer_of(connection: socket.socket) -> PeerCredentials:
    """The credentials of the process at the other end, as the kernel gives them."""
    return PeerCredentials(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield at
    finally:
        os.close(at)


@contextmanager
def _locked(at: int, directory: Path) -> Iterator[None]:
    """Hold the lock of this directory, so that one process at a time looks for a name. It ends with the descriptor."""
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(at, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, "the directory stays locked by another process", str(directory)) from None
            time.sleep(_LOCK_PAUSE_S)
    yield


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return _TIMEVAL.pack(whole, int((seconds - whole) * 1e6))


def _address(at: int, name: str) -> str:
    return f"/proc/self/fd/{at}/{name}"


def _free(at: int, name: str) -> bool:
    """Whether the name can be taken; what a dead process left there is removed."""
    try:
        found = os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return True
    if not stat.S_ISSOCK(found.st_mode) or _answers(at, name):
        return False
    os.unlink(name, dir_fd=at)
    return True


def _answers(at: int, name: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(_address(at, name))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # its queue is full, or it is not ours to ask
            return True
        return True


def _bind(at: int, directory: Path, name: str) -> ControlSocket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # On Linux the name gets the mode that the socket has when it is bound: there is no moment with a wider one.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(_address(at, name))
        listener.listen(_BACKLOG)
        inode = os.stat(name, dir_fd=at, follow_symlinks=False).st_ino
    except BaseException:
        listener.close()
        raise
    return ControlSocket(directory / name, listener, inode)
