"""A link process in which something fails, once: the program of a ``LinkGroup``, and not a test.

FAILS_BY     start_config, start_os: it cannot be started;  take, timer, poller: something unexpected, later
FAILED_FILE  made at that moment; while it is there, nothing fails
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from arbd.errors import ConfigError
from arbd.links.base import HubLink
from arbd.links.options import LinkOptions
from arbd.links.processes import process
from arbd.links.processes.port import RingPort
from arbd.logs import Logger
from arbd.model.task import Task

HOW = os.environ["FAILS_BY"]
FAILED = Path(os.environ["FAILED_FILE"])
WHEN_S = 0.3


class Boom(Exception):
    """Something that nobody expected."""


def failing_link(options: LinkOptions, port: RingPort, log: Logger) -> HubLink:
    link = process.unary_link(options, port, log)
    if FAILED.exists():
        return link
    if HOW == "start_config":
        FAILED.touch()
        raise ConfigError(["hub.url: nothing listens there"])
    if HOW == "start_os":
        FAILED.touch()
        raise OSError(errno.EMFILE, "Too many open files")
    if HOW == "timer":
        asyncio.get_running_loop().call_later(WHEN_S, boom)
    if HOW == "take":
        fail_at_a_task(port)
    return link


def fail_at_a_task(port: RingPort) -> None:
    take = port.take
    taken: list[Task] = []

    def faulty(tasks: Sequence[Task]) -> None:
        take(tasks)
        taken.extend(tasks)
        if len(taken) >= 20:
            boom()

    port.take = faulty  # type: ignore[method-assign] # that is the fault


def boom() -> None:
    FAILED.touch()
    raise Boom


if __name__ == "__main__":
    sys.exit(process.main(int(sys.argv[1]), int(sys.argv[2]), failing_link))
