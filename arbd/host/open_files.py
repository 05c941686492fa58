"""How many descriptors this process may have open at once: RLIMIT_NOFILE."""

from __future__ import annotations

import resource
from typing import Final

from arbd.errors import ConfigError

_WANTED: Final = 65_536
# Also a bound for what is on its way over sockets: an unprivileged user may have that many descriptors in transit.


def raise_limit() -> int:
    """Raise the soft limit to the hard one, to 65,536 at most; returns the soft limit of before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        _set(wanted, hard)
    return soft


def require(needed: int, what: str) -> None:
    """Raise ``ConfigError`` if this process may not have ``needed`` descriptors; ``what`` says in words who needs
    them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if (hard == resource.RLIM_INFINITY or hard >= needed) and _set(needed, hard):
        return
    limit = f"{hard} (ulimit -Hn)" if hard != resource.RLIM_INFINITY and hard < needed else f"{soft} (ulimit -n)"
    raise ConfigError(
        [
            f"{what} need {needed} open files, and the limit is {limit}; raise it "
            "(systemd: LimitNOFILE=), or have fewer workers"
        ]
    )


def _set(soft: int, hard: int) -> bool:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    except (OSError, ValueError):  # a sandbox may forbid it
        return False
    return True
