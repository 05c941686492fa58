"""Actions that say much to a log that nobody may read, in workers that are forked or, if told so, started by exec."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from typing import Any

from arbd import Provider, RateLimitMonitor

provider = Provider(name="chatty", execution_timeout=30)
register = provider.actions.register

if os.environ.get("CHATTY_THREAD"):
    threading.Thread(target=threading.Event().wait, daemon=True).start()


class Failing(RateLimitMonitor):
    """Asked in one place, where each question becomes a log line."""

    shared = True

    def check_rate_limits(self) -> dict[str, Any] | None:
        raise ValueError("no")


@register(name="chat", payload_schema={"lines": int})
def chat(lines: int, logger: Any) -> dict[str, Any]:
    for number in range(lines):
        logger.info("chat", number=number, text="x" * 200)
    return {"standard_error_waits": fcntl.fcntl(2, fcntl.F_GETFL) & os.O_NONBLOCK == 0}


@register(name="traceback", payload_schema={"length": int})
def traceback(length: int, logger: Any) -> None:
    logger.info("long", text="x" * length)


@register(name="ask", rate_limit_monitor=Failing())
def ask() -> None:
    pass


@register(name="late", timeout=0.15)
def late(logger: Any) -> None:
    """Only SIGKILL ends it."""
    while True:
        try:
            logger.info("late")
            time.sleep(0.01)
        except:  # noqa: E722 # what a careless author writes is the subject here
            pass
