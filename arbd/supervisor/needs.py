"""What so many workers need of the machine: descriptors of this process, and memory."""

from __future__ import annotations

from typing import Final

from arbd.core.lifecycle import State
from arbd.errors import ConfigError
from arbd.host import footprint, memory_left, open_files
from arbd.ipc import layout
from arbd.settings.kinds import show_size
from arbd.supervisor.pool import Pool

# Descriptors: a worker has 7 (memory, two doorbells, a socket, its process, its stacks, its metrics), twice that
# during a reload, and two more while it is started; a link process has 5, and one that replaces it as well. gRPC,
# control socket and log have 30.
_FILES_OF_DAEMON: Final = 48
_FILES_OF_WORKER: Final = 16
_FILES_OF_LINK: Final = 12
_MIB: Final = 1 << 20


def require_files(workers: int, links: int, claims: int) -> None:
    """Raise ``ConfigError`` where this process may not have the descriptors for so many workers, link processes and
    claims of CPUs."""
    needed = files_needed(workers, links, claims)
    open_files.require(needed, f"{workers} workers" + (f" and {links} link processes" if links else ""))


def files_needed(workers: int, links: int, claims: int) -> int:
    """How many descriptors that takes."""
    return _FILES_OF_DAEMON + _FILES_OF_WORKER * workers + _FILES_OF_LINK * links + claims


def require_memory(more: int, pool: Pool, ring_bytes: int) -> None:
    """Raise ``ConfigError`` where there is no memory for so many more workers, each like one that serves now."""
    left = memory_left.left()
    if left is None:
        return
    present = next((worker for worker in pool.workers.values() if worker.pid and worker.state is State.SERVING), None)
    private = (footprint.private_of(present.pid) or 0) if present is not None else 0
    each = private + layout.cell_bytes(ring_bytes)
    if more * each > left:
        like = f", as worker {present.slot} has" if present is not None else ""
        raise ConfigError(
            [
                f"{more} more workers need {_shown(more * each)} of memory ({_shown(each)} each{like}), and "
                f"{_shown(left)} are left; have fewer workers, or give them more memory (systemd: MemoryMax=)"
            ]
        )


def _shown(size: int) -> str:
    return show_size(-(-size // _MIB) * _MIB)
