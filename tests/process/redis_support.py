"""A Redis server of its own for a test: on a socket in a directory of the test, without a file on disk."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

import pytest
import redis

PASSWORD = "correct-horse-battery"


class RedisServer:
    """``redis-server``; starts in the with statement, may be killed and started again."""

    def __init__(self, directory: Path) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.fail("these tests need redis-server: apt-get install redis-server")
        self._binary = binary
        self._directory = directory
        self._socket = directory / "redis.sock"
        self.url = f"unix://:{PASSWORD}@{self._socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--port", "0", "--unixsocket", str(self._socket), "--requirepass", PASSWORD]
        options += ["--save", "", "--appendonly", "no", "--dir", str(self._directory)]
        self._process = subprocess.Popen([self._binary, *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        with socket.socket(socket.AF_UNIX) as probe:
            while probe.connect_ex(str(self._socket)):
                assert self._process.poll() is None, "redis-server did not start"
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.002)

    def client(self) -> redis.Redis:
        """A client for the test itself."""
        return redis.Redis.from_url(self.url)

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

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        self.kill()
