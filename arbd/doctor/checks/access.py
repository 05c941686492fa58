"""Who may read a file, by the modes of it and of the directories above it. Pure; access lists (ACLs) are not known
here, so that what seems closed is a warning and no failure."""

from __future__ import annotations

import stat
from collections.abc import Collection, Sequence

import msgspec


class ServiceUser(msgspec.Struct, frozen=True):
    """The user that the daemon runs as. ``is_known``: it exists on this machine."""

    name: str
    uid: int
    gids: frozenset[int] = frozenset()
    is_known: bool = True


class PathFacts(msgspec.Struct, frozen=True):
    """One file or directory, links followed. ``error``: why it cannot be looked at."""

    path: str
    uid: int = 0
    gid: int = 0
    mode: int = 0
    error: str = ""

    @property
    def permissions(self) -> int:
        """The mode without the kind of file."""
        return stat.S_IMODE(self.mode)


def closed_to(account: ServiceUser, way: Sequence[PathFacts]) -> str:
    """Which part of the way from the root to a file keeps this user from reading it; empty if none does."""
    if account.uid == 0:
        return ""
    for number, step in enumerate(way):
        is_last = number == len(way) - 1
        wanted = 0o4 if is_last and not stat.S_ISDIR(step.mode) else 0o5 if is_last else 0o1
        if not step.error and not may(account, step, wanted):
            return step.path
    return ""


def may(account: ServiceUser, path: PathFacts, wanted: int) -> bool:
    """Whether the mode gives this user all of these bits (4 read, 2 write, 1 enter or run)."""
    if account.uid == 0:
        return True
    return _bits(path, account.uid, account.gids) & wanted == wanted


def _bits(path: PathFacts, uid: int, gids: Collection[int]) -> int:
    if path.uid == uid:
        return path.permissions >> 6 & 0o7
    return (path.permissions >> 3 if path.gid in gids else path.permissions) & 0o7
