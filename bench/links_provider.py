"""One action that takes 5 ms and next to no CPU: as many workers as you like fit two cores."""

from __future__ import annotations

import time

from arbd import Provider

provider = Provider(name="links", execution_timeout=5)


@provider.actions.register(name="pause")
def pause() -> None:
    time.sleep(0.005)
