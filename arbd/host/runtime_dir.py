"""The runtime directory of a daemon: its control socket, and files it shares with other daemons.

    daemon: the first of                                    command: looks into every one that exists, and
      runtime_dir of the settings                             into the directories below /run/arbd and
      $RUNTIME_DIRECTORY  (systemd's RuntimeDirectory=)        $XDG_RUNTIME_DIR/arbd, one for each systemd unit
      /run/arbd           (root)                               of the machine and of the user; without that
      $XDG_RUNTIME_DIR/arbd                                    variable (sudo -u, cron) into /run/user/UID/arbd
      /tmp/arbd-UID

Root's own place comes before the session's: that one vanishes when root logs out, and daemons stay.

A directory made here is for its user alone (0700). One that exists must belong to that user and be closed to writing by
others, who could put sockets of their own into it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT_DIR: Final = Path("/run/arbd")
SESSIONS: Final = Path("/run/user")  # where $XDG_RUNTIME_DIR of each user is
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def for_daemon(given: str | None, environ: Mapping[str, str], uid: int) -> Path:
    """The directory of a daemon that runs as user ``uid``; ``given`` is what the settings say."""
    if given:
        return Path(given)
    return _places(environ, uid)[0]


def for_command(given: str | None, environ: Mapping[str, str], uid: int) -> list[Path]:
    """The directories in which daemons may be found, whether they exist or not."""
    if given:
        return [Path(given)]
    of_units = (_of_session(environ) or SESSIONS / str(uid) / "arbd", ROOT_DIR)
    within = [each for top in of_units for each in (top, *_directories_in(top))]
    return list(dict.fromkeys([*_places(environ, uid), *within]))


def prepare(directory: Path, uid: int) -> None:
    """Make the directory, or check that it is safe. Raises ``OSError`` that says what is wrong with it."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        _check(directory, uid)


def _places(environ: Mapping[str, str], uid: int) -> list[Path]:
    """The directories of a user, in order of preference; of several that systemd gives, separated by colons, the
    first."""
    places = [Path(name) for name in environ.get("RUNTIME_DIRECTORY", "").split(":") if name][:1]
    if uid == 0:
        places.append(ROOT_DIR)
    if of_session := _of_session(environ):
        places.append(of_session)
    return [*places, Path(f"/tmp/arbd-{uid}")]


def _of_session(environ: Mapping[str, str]) -> Path | None:
    place = environ.get("XDG_RUNTIME_DIR")
    return Path(place, "arbd") if place else None


def _directories_in(directory: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(directory) if entry.is_dir())
    except OSError:
        return []  # not there, or not ours to see: then there is nothing in it that could be asked


def _check(directory: Path, uid: int) -> None:
    # A link in a directory where anybody may write (/tmp) could be anybody's; elsewhere links are the operator's own.
    writable_parent = directory.parent.stat().st_mode & stat.S_IWOTH
    found = os.stat(directory, follow_symlinks=not writable_parent)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{directory} is no directory")
    if found.st_uid != uid:
        raise PermissionError(f"{directory} belongs to user {found.st_uid}, and this is user {uid}")
    if found.st_mode & _WRITABLE_BY_OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise PermissionError(f"others can write into {directory} (mode {mode:o}); chmod 700 {directory}")
