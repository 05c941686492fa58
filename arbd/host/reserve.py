"""One descriptor that a process keeps for the moment in which there is no other.

    hold() .. give_up() ─> one number is free: receive or make what must not be lost ─> restore()

Every process of arbd's own has one from its start; a forked child has its copy. An author's code may close descriptors
that it does not know, and be given the same number for a file of its own, so what stands there is looked at before it
is closed.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class _Held(NamedTuple):
    fd: int
    device: int
    inode: int  # of a memfd, which nothing else shares


_held: _Held | None = None
_is_wanted = False


def hold() -> None:
    """Have one from now on."""
    global _is_wanted
    _is_wanted = True
    restore()


def restore() -> None:
    """Have it again, if it was given up and can be had now. Costs nothing where it is there, or never was."""
    global _held
    if _held is not None or not _is_wanted:
        return
    try:
        fd = os.memfd_create("arbd-reserve", os.MFD_CLOEXEC)
    except OSError:
        return  # none is free: the next call tries again
    found = os.fstat(fd)
    _held = _Held(fd, found.st_dev, found.st_ino)


def give_up() -> bool:
    """Free it for something else; ``False`` if there is none."""
    global _held
    held, _held = _held, None
    if held is None:
        return False
    try:
        found = os.fstat(held.fd)
        if (found.st_dev, found.st_ino) != (held.device, held.inode):
            return False
        os.close(held.fd)
    except OSError:  # the author's code has closed it
        return False
    return True
