"""What arbd needs of the machine, checked once at start."""

from __future__ import annotations

import os
import platform
import sys

from arbd.errors import ConfigError


def require_supported() -> None:
    """Raise ``ConfigError`` on a machine whose memory order or kernel arbd was not built for."""
    problems = []
    if not sys.platform.startswith("linux"):
        problems.append(f"arbd needs Linux (pidfd, memfd, eventfd); this is {sys.platform}")
    elif not hasattr(os, "pidfd_open"):
        problems.append("arbd needs Linux 5.3 or newer and a Python built with pidfd_open")
    if platform.machine() not in ("x86_64", "AMD64"):
        problems.append(
            f"arbd's queues rely on the store order of x86-64; on {platform.machine()} a task could be read "
            "before it is written, so arbd does not start here"
        )
    if problems:
        raise ConfigError(problems)
