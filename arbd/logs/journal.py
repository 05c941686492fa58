"""The journal of systemd: log lines as entries with fields and a priority, where standard error leads there.

    JOURNAL_STREAM is the device and inode of the log's descriptor ──> entries to the journal's own socket
    that is not there, is full, or takes no entry of that size ──> the line to standard error, "<priority>" before it

Why its own protocol: only that carries fields, such as ``ARBD_TASK_ID``, to search by, and it tells which process wrote
an entry; a stream to the journal is known by the process that opened it. Why the other way as well: a datagram is taken
or not, and nobody may wait for it; the stream has a bounded wait and a count of what is lost (``arbd.logs.output``).

The message of an entry is the whole line, so what reads the lines elsewhere reads them here. A value is sent with its
length before it: whatever is in it, it makes no field. Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any, Final

from arbd.logs.format import EventLine
from arbd.logs.output import LineOutput

SOCKET: Final = "/run/systemd/journal/socket"
IDENTIFIER: Final = "arbd"
_PRIORITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_INFO: Final = 6
_FIELDS: Final = ("logger", "role", "worker", "task_id", "action", "attempt", "trace_id", "span_id", "event")
_MOST_OF_FIELD: Final = 4096  # bytes; the message has all of it
_SEND_BUFFER: Final = 8 * 1024 * 1024  # as systemd's own clients ask for; the kernel gives what it allows


def leads_to_journal(fd: int, stream: str | None) -> bool:
    """Whether this descriptor is the stream to the journal that the variable ``JOURNAL_STREAM`` names."""
    if not stream:
        return False
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


def priority_of(event: Mapping[str, Any] | None) -> int:
    """The priority of an event, as syslog numbers them."""
    return _PRIORITIES.get(str(event.get("level")), _INFO) if event is not None else _INFO


def entry(event: Mapping[str, Any], line: bytes) -> bytes:
    """An event as an entry of the journal; ``line`` is its message."""
    parts = [
        _field("MESSAGE", line.removesuffix(b"\n")),
        b"PRIORITY=%d\nSYSLOG_IDENTIFIER=%b\n" % (priority_of(event), IDENTIFIER.encode()),
    ]
    for name in _FIELDS:
        value = event.get(name)
        if value is not None and value != "":
            parts.append(
                _field(f"ARBD_{name.upper()}", str(value).encode("utf-8", "backslashreplace")[:_MOST_OF_FIELD])
            )
    return b"".join(parts)


def _field(name: str, value: bytes) -> bytes:
    return b"%b\n%b%b\n" % (name.encode(), len(value).to_bytes(8, "little"), value)


def with_priority(line: bytes) -> bytes:
    """A line as the stream to the journal takes it, with its priority before each line of its text."""
    mark = b"<%d>" % priority_of(getattr(line, "event", None))
    return b"".join(mark + part + b"\n" for part in line.removesuffix(b"\n").split(b"\n"))


class JournalOutput:
    """Log lines to the journal, and to ``lines``, its stream, what its socket does not take."""

    def __init__(self, lines: LineOutput, path: str = "") -> None:
        self.lines = lines
        self._path = path or SOCKET
        self._socket = _make_socket()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What must stay open for it."""
        return () if self._socket is None else (self._socket.fileno(),)

    def close(self) -> None:
        """Close the socket; lines go to the stream from then on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def write(self, line: bytes) -> None:
        """Write a line, or drop it and count it."""
        if not isinstance(line, EventLine) or not self._send(entry(line.event, line)):
            self.lines.write(with_priority(line))

    def _send(self, data: bytes) -> bool:
        if self._socket is None:
            return False
        try:
            # Not connected: a journal that was started again has another socket in the same place.
            return self._socket.sendto(data, self._path) == len(data)
        except OSError:  # it is full, is not there, or takes none of that size
            return False


def _make_socket() -> socket.socket | None:
    try:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    except OSError:  # no descriptor is left
        return None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    except OSError:
        pass
    return made
