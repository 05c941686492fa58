"""What the peers with a Redis have in common: a server, worker programs, and an app that both sides import."""

from __future__ import annotations

import importlib
import os
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Final

from bench.peers import processes
from bench.peers.base import Peer
from bench.redis_server import redis_server

REDIS: Final = "BENCH_PEERS_REDIS"
"""The environment variable with the path of the server's socket."""


def redis_path() -> str:
    """Where an app finds the server."""
    return os.environ[REDIS]


class RedisPeer(Peer):
    """Starts Redis and the worker programs; ``app`` is the module of ``bench.peers.apps`` that the workers import."""

    has_broker = True
    app_module: ClassVar[str]
    app: Any

    @abstractmethod
    def programs(self) -> Sequence[Sequence[str]]:
        """The command lines of the workers, each after ``python -m``."""

    def start(self, place: Path) -> None:
        self._stack = ExitStack()
        server = self._stack.enter_context(redis_server())
        self.broker_pid = server.pid
        os.environ[REDIS] = server.path
        for name, *arguments in self.programs():
            self._stack.callback(processes.module(place, name, *arguments).kill)
        self.app = importlib.import_module(self.app_module)  # it connects as it is imported: not before

    def stop(self) -> None:
        self._stack.close()
