"""A Redis of our own: on a unix socket, without a file on disk, gone when the block ends. Needs ``redis-server``."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

_START_S: Final = 10.0


class RedisServer(NamedTuple):
    """``url`` as redis-py has it; other libraries write the scheme of a unix socket in other ways."""

    path: str
    pid: int

    @property
    def url(self) -> str:
        return f"unix://{self.path}"


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Start one. Raises ``RuntimeError`` if it is not installed or does not start."""
    binary = shutil.which("redis-server")
    if binary is None:
        raise RuntimeError("redis-server is not installed: apt-get install redis-server")
    with tempfile.TemporaryDirectory(prefix="arbd-redis-") as directory:
        socket = Path(directory) / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no", "--dir", directory]
        process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + _START_S
            while not socket.exists():
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError("redis-server did not start")
                time.sleep(0.01)
            yield RedisServer(str(socket), process.pid)
        finally:
            process.kill()
            process.wait()
