"""What the tests of rotation share: authorities and certificates made by ``openssl``, and a hub that asks its callers
for a certificate and notes with which token and certificate each call came."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from arbd.hub.board import NewTask
from arbd.hub.server import EmbeddedHub, HubOptions
from arbd.hub.state import HubState

_MOST_QUEUED = 40
_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


def openssl(command: str, directory: Path) -> None:
    """Run one command of it."""
    subprocess.run(["openssl", *shlex.split(command)], cwd=directory, check=True, capture_output=True)


class Authority:
    """A certificate authority in a directory of its own."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory / name
        self.directory.mkdir()
        self.path = self.directory / "ca.pem"
        openssl(f"req -x509 {_KEY} -days 2 -subj /CN={name} -keyout ca.key -out ca.pem", self.directory)

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.path.read_bytes()

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """A certificate of that name, which is good for ``localhost``, and its key."""
        extensions = self.directory / f"{name}.ext"
        extensions.write_text("subjectAltName=DNS:localhost\n")
        openssl(f"req {_KEY} -subj /CN={name} -keyout {name}.key -out {name}.csr", self.directory)
        openssl(
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext"
            f" -out {name}.pem",
            self.directory,
        )
        return (self.directory / f"{name}.pem").read_bytes(), (self.directory / f"{name}.key").read_bytes()


class NotingHub:
    """The embedded hub in a thread of this process. ``seen``: (token, name in the certificate) of each call, in order.
    ``tokens``: those that may call at this moment; none: all."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        identity: tuple[bytes, bytes] | None = None,
        trusted: bytes = b"",
        stream: bool = True,
    ) -> None:
        self.seen: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        self.refused = 0
        self._number = 0
        hub = self

        async def check_token(_: HubState, token: str, context: Any) -> None:
            names = context.auth_context().get("x509_common_name", [b""])
            hub.seen.append((token, names[0].decode()))
            if hub.tokens and token not in hub.tokens:
                hub.refused += 1
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"the token {token} is not known here")

        monkeypatch.setattr(HubState, "check_token", check_token)
        cert, key = identity or (None, None)
        self._options = HubOptions(
            address="localhost:0",
            tls_cert=cert,
            tls_key=key,
            client_ca=trusted or None,
            stream=stream,
            lease_s=60.0,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-noting-hub")

    def __enter__(self) -> NotingHub:
        self._thread.start()
        self.hub = self._call(self._start())
        self.address: str = self.hub.address
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self.hub.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> EmbeddedHub:
        hub = EmbeddedHub(self._options)
        await hub.start()
        return hub

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def submit(self, action: str, payload: bytes = b"{}", count: int = 1) -> list[str]:
        """Submit tasks; their ids."""

        async def submit() -> list[str]:
            new = [NewTask(action, payload) for _ in range(count)]
            _, ids = self.hub.board.submit(new, time.monotonic(), "all")
            self.hub.submitted()
            return list(ids)

        found: list[str] = self._call(submit())
        return found

    def histories(self, ids: list[str]) -> list[list[str]]:
        """What happened to each of these tasks, in words."""

        async def look() -> list[list[str]]:
            return [[event.kind for event in self.hub.board.history(each)] for each in ids]

        found: list[list[str]] = self._call(look())
        return found


class Load:
    """Tasks without a pause, a few at a time, until the block ends; ``ids`` has all of them."""

    def __init__(self, hub: NotingHub, action: str, payload: bytes = b"{}") -> None:
        self._hub = hub
        self._task = action, payload
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="test-load")
        self.ids: list[str] = []

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._hub.hub.board.queued < _MOST_QUEUED:
                self.ids += self._hub.submit(*self._task, count=20)
            time.sleep(0.01)


def swap(path: Path, content: bytes) -> None:
    """Replace a file as a careful writer does."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, path)


class Volume:
    """A directory of secrets as Kubernetes mounts one: ``name`` leads to ``..data/name``, and ``..data`` is swapped."""

    def __init__(self, directory: Path, files: dict[str, bytes]) -> None:
        self.directory = directory
        self._version = 0
        directory.mkdir()
        self.update(files)
        for name in files:
            (directory / name).symlink_to(Path("..data") / name)

    def update(self, files: dict[str, bytes]) -> None:
        """Have all of them change at one moment."""
        self._version += 1
        version = self.directory / f"..{self._version}"
        version.mkdir()
        for name, content in files.items():
            (version / name).write_bytes(content)
        link = self.directory / "..new"
        link.symlink_to(version.name)
        os.replace(link, self.directory / "..data")
