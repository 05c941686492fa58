"""Celery: JSON messages, results in the same Redis, a hard time limit on every task."""

from __future__ import annotations

from celery import Celery

from bench.peers import actions
from bench.peers.base import LIMIT_S, NO_LIMIT_S
from bench.peers.redis_peer import redis_path

app = Celery("peers", broker=f"redis+socket://{redis_path()}", backend=f"redis+socket://{redis_path()}")
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_time_limit=NO_LIMIT_S,
    worker_prefetch_multiplier=64,  # what its manual advises for many short tasks
    worker_hijack_root_logger=False,
)

TASKS = {
    "quote": app.task(name="quote")(actions.quote),
    "tally": app.task(name="tally")(actions.tally),
    "discard": app.task(name="discard", ignore_result=True)(actions.discard),
    "burn": app.task(name="burn")(actions.burn),
    "meet": app.task(name="meet")(actions.meet),
    "hang_python": app.task(name="hang_python", time_limit=LIMIT_S)(actions.hang_python),
    "hang_c": app.task(name="hang_c", time_limit=LIMIT_S)(actions.hang_c),
}
