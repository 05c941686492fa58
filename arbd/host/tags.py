"""A tag that a process hands down to everything it starts: whose worker's descendant it is.

Descent alone does not tell: what forks twice, or outlives its parent, becomes a child of the nearest subreaper, and its
number of the parent says nothing any more. Session and group are a child's to leave, its environment to clear. What it
keeps in every case, through fork and exec, is its resource limits; and one of them has meant nothing to the kernel
since Linux 2.4, so that nobody sets it: ``RLIMIT_LOCKS``. Its soft value holds the tag::

    11 bits  MAGIC   it is a tag at all
    32 bits          the generation: 24 bits of this daemon, 8 that count its loads
    20 bits          the worker; MODULE: the zygote, and what the module started at import; LIMITS: the shared
                     monitors'; WATCH: the process that looks after the zygote's end

A program that sets this limit all the same (``su`` with ``pam_limits``) loses its tag, and belongs to the generation
as a whole then. Reading one costs 1 µs, setting one the same; per task nothing.
"""

from __future__ import annotations

import errno
import resource
import secrets
from typing import Final, NamedTuple

LIMIT: Final = 10  # RLIMIT_LOCKS, which the module resource has no name for
MODULE: Final = 0
LIMITS: Final = (1 << 20) - 1
WATCH: Final = LIMITS - 1
_MAGIC: Final = 0x5AB  # and so every tag is below 2**63, which is what Python can pass
_DAEMON: Final = secrets.randbits(24)
_loads = 0


class Tag(NamedTuple):
    """Whose it is: a generation's, and there a worker's."""

    generation: int
    worker: int


def of_worker(generation: int, worker_id: int) -> Tag:
    """The tag of a worker; after a million workers of one daemon they are used again."""
    return Tag(generation, 1 + (worker_id - 1) % (WATCH - 1))


def new_generation() -> int:
    """A number for the next generation of this daemon, which no other has."""
    global _loads
    _loads += 1
    return _DAEMON << 8 | _loads & 0xFF


def is_of_this_daemon(tag: Tag | None) -> bool:
    """Whether it is a tag of one of the generations that this process has numbered."""
    return tag is not None and tag.generation >> 8 == _DAEMON


def are_of_one_daemon(one: int, other: int) -> bool:
    """Whether two generations are of the same daemon."""
    return one >> 8 == other >> 8


def encode(tag: Tag) -> int:
    """The tag as a soft limit."""
    return _MAGIC << 52 | tag.generation << 20 | tag.worker


def decode(soft: int) -> Tag | None:
    """The tag in a soft limit, if it is one."""
    if soft < 0 or soft >> 52 != _MAGIC:  # RLIM_INFINITY is negative
        return None
    return Tag(soft >> 20 & 0xFFFF_FFFF, soft & 0xF_FFFF)


def put_on(tag: Tag) -> None:
    """Tag this process, and so what it starts from now on. Raises ``OSError`` where that is forbidden, or the operator
    has put a hard limit on it."""
    hard = resource.getrlimit(LIMIT)[1]
    try:
        resource.setrlimit(LIMIT, (encode(tag), hard))
    except ValueError as error:  # what Python makes of EINVAL and EPERM
        raise OSError(errno.EPERM, str(error)) from error


def become_worker(worker_id: int) -> None:
    """Replace this process's tag, that of its generation, by a worker's. Where it has none it stays so."""
    own = of(0)
    if own is not None:
        put_on(of_worker(own.generation, worker_id))


def of(pid: int) -> Tag | None:
    """The tag of a process, also of one that has ended and is not reaped; 0: this one. ``None``: it has none, is gone,
    or another user's."""
    try:
        return decode(resource.prlimit(pid, LIMIT)[0])
    except PermissionError:  # it has changed its user: sudo, ping
        return _from_proc(pid)
    except (OSError, ValueError):
        return None


def _from_proc(pid: int) -> Tag | None:
    try:
        with open(f"/proc/{pid}/limits", encoding="ascii", errors="replace") as limits:
            return parse(limits.read())
    except OSError:
        return None


def parse(limits: str) -> Tag | None:
    """The tag in the text of ``/proc/PID/limits``."""
    for line in limits.splitlines():
        if line.startswith("Max file locks"):
            soft = line.removeprefix("Max file locks").split()[:1]
            return decode(int(soft[0])) if soft and soft[0].isdecimal() else None
    return None
