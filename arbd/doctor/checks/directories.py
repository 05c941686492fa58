"""The directories that the daemon writes to: whose they are, who else may write there, and whether there is room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from arbd.doctor.checks.access import PathFacts, ServiceUser, may
from arbd.doctor.findings import Finding, fail, ok
from arbd.settings.kinds import show_size

_MIB: Final = 1 << 20
_LITTLE: Final = 16 * _MIB
_FEW_FILES: Final = 100
_WRITE_AND_ENTER: Final = 0o3


class DirectoryFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One directory. ``setting``: what names it. ``made_by_unit``: systemd makes it. ``here``: itself, or if it does
    not exist (``is_there``) the nearest one above it that does. ``can_be_made``: only its last part is missing.
    ``free`` bytes and ``free_files`` of its file system. ``is_read_only``: that file system. ``is_private``: nobody
    else may write there."""

    setting: str
    path: str
    here: PathFacts
    is_there: bool
    can_be_made: bool = True
    made_by_unit: bool = False
    is_private: bool = True
    is_read_only: bool = False
    free: int | None = None
    free_files: int | None = None


def check_directories(facts: Sequence[DirectoryFacts], account: ServiceUser) -> Iterator[Finding]:
    """Whether each can be used."""
    for directory in facts:
        findings = [*_usable(directory, account), *_room(directory)]
        yield from findings
        if not findings:
            how = "systemd makes it" if directory.made_by_unit else "there" if directory.is_there else "can be made"
            yield ok("directories", f"{directory.setting}: {directory.path}, {how}")


def _usable(facts: DirectoryFacts, account: ServiceUser) -> Iterator[Finding]:
    here, path = facts.here, facts.path
    if facts.made_by_unit:
        return
    if not facts.is_there and not facts.can_be_made:
        yield fail(
            "directories.missing",
            f"{facts.setting}: {path} does not exist, and neither does the directory above it",
            "the daemon makes only the last part of it, and does not start",
            f"mkdir -p {path}, and have it belong to {account.name} (mode 0700)",
        )
    elif facts.is_read_only:
        yield fail(
            "directories.read_only",
            f"{facts.setting}: {path} is on a file system that is mounted read-only",
            "the daemon does not start",
            "name another directory",
        )
    elif facts.is_there and facts.is_private and account.is_known and here.uid != account.uid:
        yield fail(
            "directories.owner",
            f"{facts.setting}: {path} belongs to user {here.uid}, and the daemon is {account.name} ({account.uid})",
            "whoever owns it could put a socket of their own there, so the daemon does not start",
            f"chown {account.name} {path}; or name another directory",
        )
    elif facts.is_there and facts.is_private and here.permissions & 0o022:
        yield fail(
            "directories.mode",
            f"{facts.setting}: {path} has mode {here.permissions:o}: others may write there",
            "they could put a socket of their own there, so the daemon does not start",
            f"chmod 700 {path}",
        )
    elif account.is_known and not may(account, here, _WRITE_AND_ENTER):
        yield fail(
            "directories.closed",
            f"{facts.setting}: user {account.name} may not write to {here.path}",
            "the daemon does not start",
            f"chown {account.name} {path}, mode 0700; or name another directory",
        )


def _room(facts: DirectoryFacts) -> Iterator[Finding]:
    why = "sockets, limits that are shared and what is to outlive a start cannot be written"
    if facts.free is not None and facts.free < _LITTLE:
        yield fail(
            "directories.full",
            f"{facts.setting}: {show_size(facts.free // _MIB * _MIB)} are free at {facts.path}",
            why,
            "remove something there, or name a directory elsewhere",
        )
    elif facts.free_files is not None and facts.free_files < _FEW_FILES:
        yield fail(
            "directories.full",
            f"{facts.setting}: {facts.free_files} more files can be made at {facts.path} (inodes)",
            why,
            "remove files there, or name a directory elsewhere",
        )
