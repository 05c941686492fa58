"""The standard library's ``multiprocessing.Pool.imap_unordered``."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Iterator, Mapping
from multiprocessing.pool import IMapIterator
from pathlib import Path
from typing import Any

from bench.peers import actions
from bench.peers.base import WORKERS, Peer


def _run(function: functools.partial[Any], _: int) -> Any:
    return function()


class PoolPeer(Peer):
    title = "Pool.imap_unordered"
    packages = ()
    settings = (
        "`multiprocessing.Pool(2).imap_unordered`, chunks of one; in the caller's process: no broker, no time limit"
    )
    limit_s = None
    is_tallied = False

    def start(self, place: Path) -> None:
        self._pool = multiprocessing.Pool(WORKERS)

    def stop(self) -> None:
        self._pool.terminate()

    def send(self, action: str, arguments: Mapping[str, Any], count: int = 1) -> Iterator[Any]:
        call = functools.partial(_run, functools.partial(getattr(actions, action), **arguments))
        return self._pool.imap_unordered(call, range(count))

    def collect(self, ticket: IMapIterator[Any], timeout_s: float) -> None:
        while True:
            try:
                ticket.next(timeout_s)
            except StopIteration:
                return
            except multiprocessing.TimeoutError as error:
                raise TimeoutError("no result in time") from error
