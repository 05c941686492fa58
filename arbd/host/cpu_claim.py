"""Claims of CPUs that hold over the whole host, and end with the process that made them.

A claim is a Unix socket bound to an abstract name, ``arbd-cpu-CPU.LEVEL``: the kernel lets one process bind it, whoever
its user is, and takes it back when that process ends, however it ends. There is no file to clean up and no directory
that all users must be able to write to; lock files fail under ``PrivateTmp=``, and where ``fs.protected_regular``
forbids to open what another user has made. Nobody can send anything to such a socket: it does not listen.

    turn() ──one process at a time──> counts ──the caller chooses──> claim ──> held until close()

So that daemons which start at the same moment do not choose the same CPUs, only one chooses at a time; its turn is a
name that it binds, too. A claim is advice: where sockets cannot be had, where a turn does not come within ``TURN_S``
(its holder is stopped), or on a CPU with ``LEVELS`` claims already, things go on without one.

Abstract names belong to a network namespace. Containers with a network of their own, and units with
``PrivateNetwork=``, do not see each other's claims: give each of those a CPU set.
"""

from __future__ import annotations

import errno
import re
import socket
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LEVELS: Final = 8  # daemons that are told apart on one CPU
TURN_S: Final = 1.0  # a turn takes about 10 µs for each CPU of the machine
_LOOK_AGAIN_S: Final = 0.002
PREFIX = "arbd-cpu"  # of the names; tests have a world of their own
_SOCKETS: Final = Path("/proc/net/unix")


def seen(prefix: str = "", sockets: Path = _SOCKETS) -> dict[int, int]:
    """By how many daemons each CPU is claimed, as the kernel lists it. Nothing is bound, so that nobody who chooses in
    this moment is misled. Empty where there is no such list."""
    try:
        text = sockets.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    name = re.compile(rf"@{re.escape(prefix or PREFIX)}-(\d+)\.\d+$", re.MULTILINE)
    return dict(Counter(int(cpu) for cpu in name.findall(text)))


class CpuClaims:
    """The claims of one daemon; ``prefix``: of all names, ``PREFIX`` unless told otherwise."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix or PREFIX
        self._held: dict[int, socket.socket] = {}

    @contextmanager
    def turn(self, within_s: float = TURN_S) -> Iterator[None]:
        """Choose and claim within this block: no other daemon of the host does so meanwhile. Raises ``OSError`` where
        there is no socket to be had."""
        give_up_at = time.monotonic() + within_s
        while (turn := self._bound("turn")) is None and time.monotonic() < give_up_at:
            time.sleep(_LOOK_AGAIN_S)
        try:
            yield
        finally:
            if turn is not None:
                turn.close()

    def counts(self, cpus: Collection[int]) -> dict[int, int]:
        """By how many daemons each of these CPUs is claimed, this one included, up to ``LEVELS``. Raises
        ``OSError``."""
        return {cpu: sum(self._is_taken(cpu, level) for level in range(LEVELS)) for cpu in cpus}

    @property
    def held(self) -> Collection[int]:
        """The CPUs that this daemon holds a claim on."""
        return self._held.keys()

    def claim(self, cpus: Collection[int]) -> None:
        """Hold a claim on each of these CPUs that has not ``LEVELS`` already. Raises ``OSError``; then none is held of
        those that were not held before."""
        before = set(self._held)
        try:
            for cpu in sorted(set(cpus) - before):
                free = (claim for level in range(LEVELS) if (claim := self._bound(f"{cpu}.{level}")) is not None)
                if (claim := next(free, None)) is not None:
                    self._held[cpu] = claim
        except OSError:
            self.hold_only(before)
            raise

    def hold_only(self, cpus: Collection[int]) -> None:
        """Let go of the claims on all other CPUs."""
        for cpu in [cpu for cpu in self._held if cpu not in cpus]:
            self._held.pop(cpu).close()

    def close(self) -> None:
        """Let go of all claims."""
        self.hold_only(())

    def _is_taken(self, cpu: int, level: int) -> bool:
        attempt = self._bound(f"{cpu}.{level}")
        if attempt is not None:
            attempt.close()
        return attempt is None

    def _bound(self, name: str) -> socket.socket | None:
        """A socket with this name; ``None`` if somebody has it."""
        attempt = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            attempt.bind(f"\0{self._prefix}-{name}")
        except OSError as error:
            attempt.close()
            if error.errno == errno.EADDRINUSE:
                return None
            raise
        return attempt
