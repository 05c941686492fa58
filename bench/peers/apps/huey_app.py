"""Huey: results in the same Redis, with a notice of each, so that nobody has to poll for them."""

from __future__ import annotations

import redis
from huey import RedisHuey

from bench.peers import actions
from bench.peers.base import LIMIT_S, NO_LIMIT_S
from bench.peers.redis_peer import redis_path

# Without this redis-py gives up on a read after seconds, and Huey with it on a result that takes longer.
_pool = redis.ConnectionPool(connection_class=redis.UnixDomainSocketConnection, path=redis_path(), socket_timeout=None)
huey = RedisHuey("peers", connection_pool=_pool, notify_result=True)


def meet(number: int) -> bool:
    """With a result, because None would not be stored."""
    actions.meet(number)
    return True


TASKS = {
    "quote": huey.task(timeout=NO_LIMIT_S)(actions.quote),
    "tally": huey.task(timeout=NO_LIMIT_S)(actions.tally),
    "discard": huey.task(timeout=NO_LIMIT_S)(actions.discard),  # None is not stored
    "burn": huey.task(timeout=NO_LIMIT_S)(actions.burn),
    "meet": huey.task(timeout=NO_LIMIT_S)(meet),
    "hang_python": huey.task(timeout=LIMIT_S)(actions.hang_python),
    "hang_c": huey.task(timeout=LIMIT_S)(actions.hang_c),
}
