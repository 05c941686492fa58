"""Whether a unit's ``SystemCallFilter=`` lets through the system calls that arbd needs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: The group of systemd that holds each call that arbd needs, as `systemd-analyze syscall-filter` lists them.
GROUPS_OF: Final = {
    "sched_setaffinity": "@resources",
    "memfd_create": "@ipc",
    "pidfd_open": "@process",
    "pidfd_send_signal": "@process",
    "eventfd2": "@io-event",
    "epoll_ctl": "@io-event",
    "socketpair": "@network-io",
    "sendmsg": "@network-io",
    "setitimer": "@timer",
    "timer_create": "@timer",
    "clone3": "@process",
    "prctl": "@process",
}
#: Groups that hold all of these.
_WHOLE: Final = frozenset({"@system-service", "@known"})
PINNING: Final = "sched_setaffinity"
#: Without these arbd goes on, with less.
DISPENSABLE: Final = frozenset({PINNING})


def forbidden(filters: Sequence[str]) -> list[str]:
    """Those of the calls that these values of ``SystemCallFilter=`` forbid, in order of ``GROUPS_OF``."""
    if not filters:
        return []
    return [call for call, group in GROUPS_OF.items() if not _is_allowed(call, {group, *_WHOLE}, filters)]


def _is_allowed(call: str, groups: set[str], filters: Sequence[str]) -> bool:
    """The first line decides what a call is that no line names; each line then adds, or with ``~`` takes away."""
    allowed = filters[0].startswith("~")
    for line in filters:
        takes_away = line.startswith("~")
        named = {word.partition(":")[0] for word in line.removeprefix("~").split()}
        if call in named or groups & named:
            allowed = not takes_away
    return allowed
