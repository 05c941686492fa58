"""Actions that write down, once for each time they are begun, what they were given."""

from __future__ import annotations

import os
import time
from pathlib import Path

from arbd import Provider

provider = Provider(name="counted", execution_timeout=30)


def _begin(directory: str, name: str) -> None:
    with (Path(directory) / f"begun-{os.getpid()}").open("a") as file:
        file.write(f"{name}\n")


@provider.actions.register(name="run", payload_schema={"name": str, "path": str, "ms": float, "filler": str})
def run(name: str, path: str, ms: float) -> dict[str, str]:
    _begin(path, name)
    time.sleep(ms / 1000)
    return {"name": name}


@provider.actions.register(name="wait", payload_schema={"path": str})
def wait(path: str) -> None:
    """Run until there is a file."""
    while not Path(path).exists():
        time.sleep(0.002)
