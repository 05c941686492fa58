"""Files and directories on the way to a path: whose they are, and their modes."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from arbd.doctor.checks.access import PathFacts, ServiceUser


def way_to(path: str | Path) -> tuple[PathFacts, ...]:
    """Every directory from the root to a file, and the file; links are followed at the end."""
    whole = Path(os.path.realpath(path))
    return tuple(look(each) for each in (*reversed(whole.parents), whole))


def look(path: Path) -> PathFacts:
    """One of them."""
    try:
        found = path.stat()
    except OSError as error:
        return PathFacts(str(path), error=error.strerror or str(error))
    return PathFacts(str(path), found.st_uid, found.st_gid, found.st_mode)


def account_of(name: str) -> ServiceUser:
    """A user by name or number; one that does not exist is not known."""
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        return ServiceUser(name, int(name) if name.isdecimal() else -1, is_known=False)
    return ServiceUser(entry.pw_name, entry.pw_uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def own_account() -> ServiceUser:
    """The user that runs this."""
    uid = os.geteuid()
    groups = frozenset({os.getegid(), *os.getgroups()})
    try:
        return ServiceUser(pwd.getpwuid(uid).pw_name, uid, groups)
    except KeyError:  # containers run as numbers
        return ServiceUser(str(uid), uid, groups)


def with_group(account: ServiceUser, group: str) -> ServiceUser:
    """The same user with one more group, by name or number; one that does not exist changes nothing."""
    try:
        gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        return account
    return ServiceUser(account.name, account.uid, account.gids | {gid}, account.is_known)
