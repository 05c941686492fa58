"""What another process holds: memory and descriptors, from ``/proc``. ``None`` where nobody may look, or it is gone."""

from __future__ import annotations

import os
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def rss_of(pid: int) -> int | None:
    """The resident memory of a process in bytes, pages that it shares with others included. About 10 µs."""
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as statm:
            return int(statm.read(128).split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):  # a process that has just ended has an empty one
        return None


def descriptors_of(pid: int) -> int | None:
    """How many descriptors a process has open. About 15 µs, and 0.3 µs for each of them."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
