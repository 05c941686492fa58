"""Regular files that the author's module has open: forked workers would share one offset, so each opens them again.

    read at import, position 4711 ─fork─> the worker opens the same file again, moves to 4711, and puts that in place
                                          of what it has inherited: the author's objects do not notice

Opened by way of ``/proc/self/fd``, so a file that was deleted or renamed meanwhile is opened as well. A file that is
only written, without O_APPEND, stays shared: there it is the one offset that keeps lines of several workers apart.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import Final

from arbd.host.descriptors import Descriptor, identity_of

#: The flags that are a file's own, as F_GETFL tells them. Not O_NOFOLLOW: what is opened is a link.
_KEPT: Final = (
    *(os.O_APPEND, os.O_NONBLOCK, os.O_DIRECT, os.O_SYNC, os.O_DSYNC, os.O_NOATIME, os.O_DIRECTORY),
)  # fmt: skip # one below the other they take nine lines


def flags_to_reopen(flags: int) -> int:
    """The flags to open a file with again, of those that it has."""
    kept = flags & os.O_ACCMODE
    for flag in _KEPT:
        if flags & flag == flag:  # some have several bits
            kept |= flag
    return kept | os.O_CLOEXEC | os.O_NOCTTY


def is_reopened(descriptor: Descriptor) -> bool:
    """Whether a forked worker opens it again."""
    if descriptor.kind == "directory":
        return not descriptor.flags & os.O_PATH
    if descriptor.kind not in ("file", "block") or descriptor.flags & os.O_PATH:
        return False
    return descriptor.is_read or bool(descriptor.flags & os.O_APPEND)


def cannot_be_reopened(descriptor: Descriptor) -> str:
    """Why it cannot be opened again, since rights may have been dropped; empty: it can.

    Asked, not tried: whoever closes a file loses all locks of its process on it, sqlite's and DuckDB's among them.
    """
    wanted = (os.R_OK if descriptor.is_read else 0) | (os.W_OK if descriptor.is_written else 0)
    if os.access(_path_of(descriptor), wanted, effective_ids=True):
        return ""
    return "it may not be opened again"


def reopen(descriptors: Iterable[Descriptor]) -> None:
    """Open these again in a forked process, each at the offset where it is. Raises ``OSError``: such a worker must not
    serve, because it would move the offset of others."""
    for descriptor in descriptors:
        # Else the author's code has closed it meanwhile; the number may be another file's.
        if identity_of(descriptor.number) == descriptor.identity:
            _put_in_place(descriptor)


def _put_in_place(descriptor: Descriptor) -> None:
    number = descriptor.number
    new = _again(descriptor)
    try:
        with contextlib.suppress(OSError):  # what has no offset needs none
            os.lseek(new, os.lseek(number, 0, os.SEEK_CUR), os.SEEK_SET)
        os.dup2(new, number, inheritable=os.get_inheritable(number))
    finally:
        os.close(new)


def _again(descriptor: Descriptor) -> int:
    return os.open(_path_of(descriptor), flags_to_reopen(descriptor.flags))


def _path_of(descriptor: Descriptor) -> str:
    return f"/proc/self/fd/{descriptor.number}"
