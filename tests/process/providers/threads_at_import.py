"""The zoo, in a module that starts a thread while it is imported, and registers actions in an order of chance."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from zoo import provider

threading.Thread(target=threading.Event().wait, name="at-import", daemon=True).start()

for _name in {f"chance_{n}" for n in range(50)}:  # the order of a set is another one in every process

    def _said(name: str = _name) -> dict[str, object]:
        return {"name": name, "pid": os.getpid()}

    provider.actions.register(name=_name)(lambda said=_said: said())
