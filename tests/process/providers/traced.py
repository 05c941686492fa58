"""Actions that tell, and log, which trace their task belongs to."""

from __future__ import annotations

import os
import signal
from typing import Any

from arbd import Provider, TaskInfo

provider = Provider(name="traced", execution_timeout=5)


@provider.actions.register(name="tell")
def tell(task: TaskInfo, logger: Any) -> dict[str, str]:
    """The header to send on."""
    logger.info("told")
    return {"traceparent": task.traceparent}


@provider.actions.register(name="die")
def die() -> None:
    """End the worker, so that the supervisor logs the task."""
    os.kill(os.getpid(), signal.SIGKILL)
