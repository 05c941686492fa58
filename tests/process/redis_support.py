"""A Redis-protocol server of its own for a test, with a password: the one that ``bench`` starts, too."""

from __future__ import annotations

from pathlib import Path

import redis

from bench import redis_server

PASSWORD = "correct-horse-battery"


class RedisServer(redis_server.RedisServer):
    """A server in the directory of a test."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, PASSWORD)

    def client(self) -> redis.Redis:
        """A client for the test itself."""
        return redis.Redis.from_url(self.url)
