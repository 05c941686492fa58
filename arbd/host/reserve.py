"""A reserve descriptor: kept open, to be closed when a descriptor is needed and none is free.

    hold() .. give_up() ─> one number is free: receive or make what must not be lost ─> restore()
              lend(ask) ─> the same, for what needs a descriptor only while it asks the kernel

Every process of arbd's own has one from its start; a forked child has its copy. An author's code may close descriptors
that it does not know, and be given the same number for a file of its own, so what stands there is looked at before it
is closed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")


class _Held(NamedTuple):
    fd: int
    device: int
    inode: int  # of a memfd, which nothing else shares


_held: _Held | None = None
_is_wanted = False


def hold() -> None:
    """Open the reserve, and let ``restore`` open it again from now on."""
    global _is_wanted
    _is_wanted = True
    restore()


def restore() -> None:
    """Open the reserve again if it was given up and a descriptor is free. No system call where it is open, or never
    was."""
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
    """Close the reserve, so that its number is free for something else; ``False`` if there is none."""
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


def lend(ask: Callable[[], _T]) -> _T:
    """What this gives, which has a descriptor open only while it runs. Raises ``OSError`` if not one is free and there
    is no reserve either."""
    try:
        return ask()
    except OSError as exc:
        if exc.errno != errno.EMFILE or not give_up():
            raise
    try:
        return ask()
    finally:
        restore()


def number() -> int:
    """Its number; -1 if there is none. It may be another one after it was given up."""
    return -1 if _held is None else _held.fd
