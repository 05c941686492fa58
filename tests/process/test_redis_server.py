"""The server for tests and benchmarks needs nothing of the machine: it comes with a package, and leaves nothing."""

from __future__ import annotations

import importlib.metadata
import os
import signal
from pathlib import Path

import pytest
from redis_support import RedisServer

from bench import redis_server


def test_nothing_on_the_path_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with RedisServer(tmp_path) as server, server.client() as client:
        assert client.ping() is True


def test_it_can_be_killed_and_started_again(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, server.client() as client:
        client.set("name", "value")
        first = server.pid
        server.kill()
        assert not Path(server.path).exists()
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        server.start()
        assert client.get("name") is None
        server.signal(signal.SIGCONT)


def test_one_without_a_password_lives_in_a_directory_of_its_own() -> None:
    with redis_server.redis_server() as server:
        directory = Path(server.path).parent
        assert (server.url, directory.is_dir()) == (f"unix://{server.path}", True)
    assert not directory.exists()


def test_a_server_that_does_not_start_says_so(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.path = str(tmp_path / "missing" / "redis.sock")
    with pytest.raises(RuntimeError, match=r"valkey-server did not start: .*\w"):
        server.start()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server, "PACKAGE", "no-such-package-of-arbd")
    with pytest.raises(RuntimeError, match="pip install no-such-package-of-arbd"):
        redis_server.program()


def test_a_package_without_the_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_of_it(name: str) -> list[importlib.metadata.PackagePath]:
        return [importlib.metadata.PackagePath(f"{name}/__init__.py")]

    monkeypatch.setattr(importlib.metadata, "files", none_of_it)
    with pytest.raises(RuntimeError, match="brings no valkey-server"):
        redis_server.program()
