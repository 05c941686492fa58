"""The priority of this process among those that want a CPU."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

_OPERATORS_NICENESS: Final = -10


def raise_own() -> None:
    """Have this process, and what it starts, go before those that burn the CPUs, where the kernel lets it: as root, or
    with a limit of niceness (``ulimit -e``). Else it waits for its turn, as everybody does."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, min(_OPERATORS_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
