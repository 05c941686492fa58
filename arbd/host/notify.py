"""Notifications to systemd: one datagram each to the socket that ``$NOTIFY_SOCKET`` names (``sd_notify(3)``).

Without that variable there is nobody to tell, and every call does nothing. A datagram that cannot be sent is dropped:
systemd has its own time limits, and a daemon does not fail for want of its listener.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

from arbd.printable import printable

_VARIABLE: Final = "NOTIFY_SOCKET"
_WATCHDOG: Final = ("WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """The notifications of this process. ``address``: of the socket, ``""`` for none; ``watchdog_s``: how often systemd
    wants to hear from it, ``None``: it does not."""

    def __init__(self, address: str, watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s

    @staticmethod
    def remove_from(environ: MutableMapping[str, str]) -> None:
        """Remove from an environment what would let its process tell systemd something."""
        for name in (_VARIABLE, *_WATCHDOG):
            environ.pop(name, None)

    @classmethod
    def taken_from(cls, environ: MutableMapping[str, str]) -> Notifier:
        """That of this environment, of which it is removed: no other process is to tell systemd anything."""
        address = environ.pop(_VARIABLE, "")
        usec, pid = (environ.pop(name, "") for name in _WATCHDOG)
        is_ours = usec.isdecimal() and int(usec) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(usec) / 1e6 if is_ours else None)

    def __bool__(self) -> bool:
        return bool(self._address)

    def ready(self) -> None:
        """The daemon serves."""
        self.send("READY=1")

    def reloading(self) -> None:
        """A reload has begun; ``ready`` ends it."""
        self.send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The daemon has begun to stop."""
        self.send("STOPPING=1")

    def status(self, text: str) -> None:
        """What a person reads in ``systemctl status``, which shows whatever it was sent: one printable line."""
        self.send(f"STATUS={printable(' '.join(text.split()))}")

    def extend_timeout(self, seconds: float) -> None:
        """Whatever goes on, start or stop, may take so much longer from now on."""
        self.send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def ping(self) -> None:
        """The daemon makes progress: the watchdog is fed."""
        self.send("WATCHDOG=1")

    def send(self, state: str) -> None:
        """Send assignments, one a line."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as end:
                end.sendto(state.encode(), self._address)
        except OSError:
            pass  # as the module says
