"""A provider whose workers, while a file ``wait`` is there, say that they start and wait until it is gone; and so does
its zygote, before it tells anybody of them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from arbd import Provider

directory = Path(sys.argv[1])
provider = Provider(name="slow-boot")


def wait() -> None:
    while (directory / "wait").exists():
        time.sleep(0.002)


def start() -> None:
    if (directory / "wait").exists():
        (directory / "boot.partial").write_text(str(os.getpid()))
        (directory / "boot.partial").rename(directory / "boot.started")
    wait()


os.register_at_fork(after_in_child=start, after_in_parent=wait)


@provider.actions.register(name="echo")
def echo() -> dict[str, int]:
    return {"pid": os.getpid()}
