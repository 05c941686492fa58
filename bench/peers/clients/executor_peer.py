"""The standard library's ``ProcessPoolExecutor``."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from bench.peers import actions
from bench.peers.base import WORKERS, Peer


class ExecutorPeer(Peer):
    title = "ProcessPoolExecutor"
    packages = ()
    settings = "`ProcessPoolExecutor(2)`, `submit`, `Future.result`; in the caller's process: no broker, no time limit"
    limit_s = None
    is_tallied = False

    def start(self, place: Path) -> None:
        self._pool = ProcessPoolExecutor(WORKERS)

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def send(self, action: str, arguments: Mapping[str, Any], count: int = 1) -> list[Future[Any]]:
        function, submit = getattr(actions, action), self._pool.submit
        return [submit(function, **arguments) for _ in range(count)]

    def collect(self, ticket: list[Future[Any]], timeout_s: float) -> None:
        for future in ticket:
            future.result(timeout_s)
