"""Dramatiq: results in the same Redis, no retries, a time limit on every actor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.peers import actions
from bench.peers.base import LIMIT_S, NO_LIMIT_S
from bench.peers.redis_peer import redis_path

broker = RedisBroker(url=f"unix://{redis_path()}")
# Without this redis-py gives up on a read after seconds, and so on a result that takes longer.
_client = redis.Redis(unix_socket_path=redis_path(), socket_timeout=None)
broker.add_middleware(Results(backend=RedisBackend(client=_client)))
dramatiq.set_broker(broker)


def _actor(function: Callable[..., Any], limit_s: float = NO_LIMIT_S, *, store_results: bool = True) -> Any:
    return dramatiq.actor(function, max_retries=0, time_limit=round(limit_s * 1000), store_results=store_results)


TASKS = {
    "quote": _actor(actions.quote),
    "tally": _actor(actions.tally),
    "discard": _actor(actions.discard, store_results=False),
    "burn": _actor(actions.burn),
    "meet": _actor(actions.meet),
    "hang_python": _actor(actions.hang_python, LIMIT_S),
    "hang_c": _actor(actions.hang_c, LIMIT_S),
}
