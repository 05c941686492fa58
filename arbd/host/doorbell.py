"""A doorbell between processes: an eventfd. Ringing twice before somebody looks is one ring."""

from __future__ import annotations

import os
from typing import Final

_ONE: Final = (1).to_bytes(8, "little")


def create() -> int:
    """A new doorbell, closed on exec."""
    return os.eventfd(0, os.EFD_CLOEXEC)


def ring(fd: int) -> None:
    """Wake whoever waits. Never blocks: the counter would have to reach 2**64 first."""
    os.write(fd, _ONE)


def wait(fd: int) -> None:
    """Sleep until rung, and take all rings so far. Interrupted by signals only for their handlers."""
    os.read(fd, 8)
