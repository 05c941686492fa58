"""The end of systemd that a daemon tells something: a datagram socket, and what came in on it, with the moment."""

from __future__ import annotations

import socket
import threading
import time
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from daemon_support import eventually

WATCHDOG_S = 2.0


class Notification(NamedTuple):
    """One datagram, and when it came, in seconds of the monotonic clock."""

    at: float
    text: str


class NotifySocket:
    """The socket that ``$NOTIFY_SOCKET`` names; ``watchdog_s``: how often systemd wants to hear of the daemon."""

    def __init__(self, directory: Path, watchdog_s: float = WATCHDOG_S) -> None:
        self.received: list[Notification] = []
        self.env = {"NOTIFY_SOCKET": str(directory / "notify"), "WATCHDOG_USEC": str(round(watchdog_s * 1e6))}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.env["NOTIFY_SOCKET"])
        self._thread = threading.Thread(target=self._receive, name="test-notify")

    def __enter__(self) -> NotifySocket:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.env["NOTIFY_SOCKET"])
        self._thread.join()
        self._socket.close()

    def _receive(self) -> None:
        while text := self._socket.recv(4096).decode():
            self.received.append(Notification(time.monotonic(), text))

    def all(self, start: str, since: float = 0.0) -> list[Notification]:
        """Those that begin so."""
        return [each for each in self.received if each.text.startswith(start) and each.at >= since]

    def wait(self, start: str, count: int = 1, timeout_s: float = 20.0) -> list[Notification]:
        """Wait until so many have come that begin so."""
        return eventually(lambda: len(found := self.all(start)) >= count and found, timeout_s)

    def wait_status(self, words: str, timeout_s: float = 20.0) -> str:
        """Wait until a status line has these words; it."""
        return eventually(
            lambda: next((each.text for each in reversed(self.all("STATUS=")) if words in each.text), None), timeout_s
        )

    @property
    def states(self) -> list[str]:
        """What it was told of its state, in order."""
        words = [each.text.partition("\n")[0] for each in self.received]
        return [word for word in words if word in ("READY=1", "RELOADING=1", "STOPPING=1")]

    def pings(self, since: float = 0.0) -> list[float]:
        """When it was told that the daemon works."""
        return [each.at for each in self.all("WATCHDOG=1", since)]

    def longest_silence(self, since: float, until: float) -> float:
        """The longest time between two pings."""
        moments = [since, *[at for at in self.pings(since) if at < until], until]
        return max(after - before for before, after in pairwise(moments))
