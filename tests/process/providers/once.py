"""An action that writes down each time it is begun, and runs until it is let go."""

from __future__ import annotations

import time
from pathlib import Path

from arbd import Provider

provider = Provider(name="once", execution_timeout=60)


@provider.actions.register(name="run", payload_schema={"path": str, "name": str})
def run(path: str, name: str) -> dict[str, str]:
    with (Path(path) / f"begun-{name}").open("a") as file:
        file.write("x")
    while not (Path(path) / "go").exists():
        time.sleep(0.002)
    return {"name": name}
