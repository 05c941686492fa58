"""A doorbell between processes: an eventfd. Ringing twice before somebody looks is one ring.

who sleeps in ``wait``          has a bell that blocks
who has an event loop or poll   has one that does not, and ``clear``s it: told of a ring that is not there, or that
                                another thread has taken, it would otherwise block for ever
"""

from __future__ import annotations

import os
from typing import Final

_ONE: Final = (1).to_bytes(8, "little")


def create(*, blocking: bool = True) -> int:
    """A new doorbell, closed on exec. ``blocking``: for all who have this descriptor, in whatever process."""
    return os.eventfd(0, os.EFD_CLOEXEC if blocking else os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def ring(fd: int) -> None:
    """Wake whoever waits. Never blocks: the counter would have to reach 2**64 first."""
    os.write(fd, _ONE)


def wait(fd: int) -> None:
    """Sleep until rung, and take all rings so far. Interrupted by signals only for their handlers.

    A bell that does not block is cleared, whether or not it was rung.
    """
    clear(fd)


def clear(fd: int) -> bool:
    """Take all rings so far; ``False`` if there was none. Only a bell that blocks makes this wait for one."""
    try:
        os.read(fd, 8)
    except BlockingIOError:
        return False
    return True
