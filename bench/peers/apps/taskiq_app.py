"""Taskiq: coroutines, a Redis list as queue, results in the same Redis.

A coroutine that never awaits blocks the loop with everything on it, timeout included; so those that hang are plain
functions, which Taskiq runs in a thread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from bench.peers import actions
from bench.peers.base import LIMIT_S, NO_LIMIT_S
from bench.peers.redis_peer import redis_path

_URL = f"unix://{redis_path()}"
# Without this redis-py gives up on a read after seconds, and so on a queue that stays empty for longer.
broker = ListQueueBroker(url=_URL, socket_timeout=None).with_result_backend(RedisAsyncResultBackend(redis_url=_URL))


def _coroutine(function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    async def run(**arguments: Any) -> Any:
        return function(**arguments)

    return broker.task(task_name=function.__name__, timeout=NO_LIMIT_S)(run)


TASKS = {
    "quote": _coroutine(actions.quote),
    "tally": _coroutine(actions.tally),
    "burn": _coroutine(actions.burn),
    "hang_python": broker.task(task_name="hang_python", timeout=LIMIT_S)(actions.hang_python),
    "hang_c": broker.task(task_name="hang_c", timeout=LIMIT_S)(actions.hang_c),
}
