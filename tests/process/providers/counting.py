"""A provider whose actions count in metrics of its own."""

import os
import threading
from typing import Any

from arbd import Provider
from arbd.metrics import Counter, Gauge, Histogram

provider = Provider("counting")

TASKS = Counter("tasks_seen", "Tasks that were run.")
KINDS = Counter("kinds", "Tasks of each kind.", ["kind"])
SIZES = Histogram("sizes_bytes", "Sizes of payloads.", buckets=(1, 10, 100))
HELD = Gauge("held", "Set by each worker.", over_workers="max")
BUSY = Gauge("busy", "Actions that run.")

TASKS.inc(1000)  # while the module is imported: counts nowhere
HELD.set(3)


@provider.on_worker_start
def hook() -> None:
    KINDS.labels("start").inc()


@provider.actions.register(name="count")
def count(payload: dict[str, Any]) -> dict[str, Any]:
    with BUSY.track_inprogress():
        TASKS.inc()
        KINDS.labels(kind=payload.get("kind", "none")).inc()
        SIZES.observe(payload.get("size", 0))
    return {"pid": os.getpid()}


@provider.actions.register(name="on_loop")
async def on_loop(payload: dict[str, Any]) -> dict[str, Any]:
    TASKS.inc()
    return {}


@provider.actions.register(name="in_threads")
def in_threads(payload: dict[str, Any]) -> dict[str, Any]:
    def work() -> None:
        for _ in range(1000):
            TASKS.inc()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {}


@provider.actions.register(name="die")
def die(payload: dict[str, Any]) -> dict[str, Any]:
    TASKS.inc()
    os.kill(os.getpid(), 9)
    return {}


@provider.actions.register(name="fork")
def fork(payload: dict[str, Any]) -> dict[str, Any]:
    pid = os.fork()
    if pid == 0:
        TASKS.inc(1e6)
        KINDS.labels("child").inc()
        os._exit(0)
    os.waitpid(pid, 0)
    TASKS.inc()
    return {}
