"""A provider whose actions are traced: with a span of their own, with log lines, with errors."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from opentelemetry import trace

from arbd import Provider

provider = Provider(name="spans")


@provider.actions.register()
def told(logger: Any, task: Any) -> dict[str, Any]:
    logger.info("told by a logger")
    with trace.get_tracer("author").start_as_current_span("inner"):
        logging.getLogger("author").warning("told in a span")
    print("told by print")
    os.system("echo told by a child")
    return {"pid": os.getpid(), "traceparent": task.traceparent, "tracestate": task.tracestate, "attempt": task.attempt}


@provider.actions.register()
async def waits() -> dict[str, Any]:
    with trace.get_tracer("author").start_as_current_span("inner of waits"):
        return {"pid": os.getpid()}


@provider.actions.register()
def fails() -> None:
    raise LookupError("no such thing")


@provider.actions.register(timeout=0.2)
def late() -> None:
    while True:
        time.sleep(0.01)


@provider.actions.register(payload_schema={"rows": int})
def checked(rows: int) -> int:
    return rows
