"""pebble: a process pool with a time limit per task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pebble

from bench.peers import actions
from bench.peers.base import LIMIT_S, NO_LIMIT_S, WORKERS, Peer, TaskFailed


class PebblePeer(Peer):
    title = "pebble, timeout per task"
    packages = ("Pebble",)
    settings = "`ProcessPool(max_workers=2)`, `schedule(timeout=)`, `Future.result`; in the caller's process: no broker"
    is_tallied = False

    def start(self, place: Path) -> None:
        self._pool = pebble.ProcessPool(max_workers=WORKERS)

    def stop(self) -> None:
        self._pool.stop()

    def send(self, action: str, arguments: Mapping[str, Any], count: int = 1) -> Any:
        function, schedule = getattr(actions, action), self._pool.schedule
        timeout = LIMIT_S if action.startswith("hang") else NO_LIMIT_S
        return [schedule(function, kwargs=arguments, timeout=timeout) for _ in range(count)]

    def collect(self, ticket: Any, timeout_s: float) -> None:
        for future in ticket:
            try:
                future.result(timeout_s)
            except TimeoutError as error:
                if future.done():  # the task's time limit, and not ours
                    raise TaskFailed("time limit") from error
                raise
