"""Anonymous shared memory that is passed on as a file descriptor: sealed memfds.

No name exists, so nothing can be left behind and nobody else can open it. The seals forbid both sides to change
the size: an unsealed memfd that one side truncates kills the other with SIGBUS.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from typing import Final

_SIZE_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def create(name: str, size: int) -> int:
    """A new memory of ``size`` zero bytes; the descriptor is closed on exec and belongs to the caller."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SIZE_SEALS)
    except OSError:
        os.close(fd)
        raise
    return fd


def attach(fd: int) -> mmap.mmap:
    """Map a memory whole, shared, readable and writable."""
    return mmap.mmap(fd, os.fstat(fd).st_size)


def words_of(mapping: mmap.mmap) -> memoryview:
    """The mapping as 64-bit words: storing one is a single 8-byte store."""
    return memoryview(mapping).cast("Q")


def create_parcel(parts: tuple[bytes, ...]) -> int:
    """A memfd that holds ``parts`` one after the other: a body too large for a ring."""
    fd = os.memfd_create("arbd-parcel", os.MFD_CLOEXEC)
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[os.write(fd, view) :]
    except OSError:
        os.close(fd)
        raise
    return fd


def read_parcel(fd: int, limit: int) -> bytes:
    """All bytes of a parcel; closes it. Raises ``ValueError`` if it holds more than ``limit``, and ``OSError`` also for
    want of memory.

    Read, not mapped: the sender may shrink it meanwhile, and a read then just ends early.
    """
    try:
        size = os.fstat(fd).st_size
        if size > limit:
            raise ValueError(f"a parcel of {size} bytes is larger than the {limit} that are allowed")
        return _read(fd, size)
    except MemoryError:
        raise OSError(errno.ENOMEM, f"no memory for a parcel of {size} bytes") from None
    finally:
        os.close(fd)


def _read(fd: int, size: int) -> bytes:
    """Up to ``size`` bytes: one read gives 2 GiB at most."""
    whole = os.pread(fd, size, 0)
    while len(whole) < size and (more := os.pread(fd, size - len(whole), len(whole))):
        whole += more
    return whole
