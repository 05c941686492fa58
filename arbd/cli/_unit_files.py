"""The files with which systemd runs arbd, and how they are written into a machine or into the tree of an image.

    arbd/systemd/…  ──path of arbd put in, stamped──>  planned: created | updated | unchanged | refused  ──>  written

Invariants:

* a file that somebody has changed by hand, or that was not written here, is not overwritten unless that is asked for:
  the first line says what the rest was when it was written;
* nothing is written if anything is refused; each file is replaced at once (rename), for all to read (0644);
* nothing outside of the root is written, whatever links lead out of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

from arbd.errors import ArbdError, os_reason

State = Literal["created", "updated", "unchanged", "refused"]

#: What stands for the path of arbd in the files as they are shipped.
COMMAND: Final = "/usr/bin/arbd"
NOTIFY_RELOAD_SINCE: Final = 253  # the systemd that has Type=notify-reload
_MODE: Final = 0o644
_DIRECTORY_MODE: Final = 0o755
_STAMP: Final = re.compile(r"# Written by arbd install-units \(([0-9a-f]{16})\).*\n")
# Of a path that stands in ExecStart= without quotes.
_PLAIN_PATH: Final = re.compile(r"/[\w./+@~-]+", re.ASCII)
# Where systemd keeps its library, which has its version in its name; distributions differ.
_LIBRARIES: Final = tuple(
    f"{top}/{place}systemd/libsystemd-shared-*.so" for top in ("usr/lib", "usr/lib64", "lib") for place in ("", "*/")
)


class UnitFile(msgspec.Struct, frozen=True):
    """One file: its name among those shipped, and its place below the root."""

    source: str
    place: str


class Planned(msgspec.Struct, frozen=True):
    """What is to become of one file; ``reason``: why it is refused."""

    path: Path
    text: str
    state: State
    reason: str = ""


UNIT: Final = UnitFile("arbd@.service", "etc/systemd/system/arbd@.service")
SYSTEM: Final = (
    UNIT,
    UnitFile("arbd.sysusers", "etc/sysusers.d/arbd.conf"),
    UnitFile("arbd.tmpfiles", "etc/tmpfiles.d/arbd.conf"),
)
NOTIFY_RELOAD: Final = UnitFile("notify-reload.conf", "etc/systemd/system/arbd@.service.d/10-notify-reload.conf")
USER: Final = UnitFile("user/arbd@.service", "etc/systemd/user/arbd@.service")


def shipped(name: str) -> str:
    """The text of a file as it comes with arbd."""
    from importlib.resources import files

    return (files("arbd") / "systemd" / name).read_text(encoding="utf-8")


def stamped(name: str, command: str) -> str:
    """The text of a file as it is installed: with the path of arbd, and a first line by which changes are noticed."""
    body = shipped(name).replace(COMMAND, command)
    return f"# Written by arbd install-units ({_digest(body)}); change it by drop-ins, this file is replaced.\n{body}"


def is_plain(command: str) -> bool:
    """Whether a unit can name this path as it is: it is absolute, and nothing in it has a meaning for systemd."""
    return _PLAIN_PATH.fullmatch(command) is not None


def is_untouched(text: str) -> bool:
    """Whether this is a file that was written here, as it was written."""
    stamp = _STAMP.match(text)
    return stamp is not None and stamp[1] == _digest(text[stamp.end() :])


def plan(root: Path, wanted: Iterable[tuple[Path, str]], *, force: bool) -> list[Planned]:
    """What becomes of each of these paths and texts. Raises ``ArbdError`` where that cannot be seen."""
    try:
        return [_planned(root, path, text, force) for path, text in wanted]
    except OSError as error:
        raise ArbdError(f"cannot look at {os_reason(error)}") from error


def write(planned: Iterable[Planned]) -> None:
    """Write what is to be created or updated. Raises ``ArbdError``."""
    for file in planned:
        if file.state in ("created", "updated"):
            try:
                _make_directories(file.path.parent)
                _replace(file.path, file.text)
            except OSError as error:
                hint = "; run it as root, or with --user or --root DIR" if isinstance(error, PermissionError) else ""
                raise ArbdError(f"cannot write {file.path}: {error.strerror}{hint}") from error


def systemd_version(root: Path) -> int | None:
    """The version of the systemd below this root, ``None`` if there is none to be found."""
    names = (found.name for pattern in _LIBRARIES for found in root.glob(pattern))
    versions = (re.match(r"libsystemd-shared-(\d+)", name) for name in names)
    return max((int(version[1]) for version in versions if version), default=None)


def out_of_reach(path: Path, root: Path = Path("/")) -> str:
    """Why the unit's user cannot run this file, empty if it can: it is hidden by the sandbox, or not for others."""
    for top in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"):
        if path.is_relative_to(top):
            return f"{path} is below {top}, which the unit hides"
    for each in (*reversed(path.parents), path):
        try:
            mode = (root / each.relative_to("/")).stat().st_mode
        except OSError as error:
            return f"{each}: {error.strerror}"
        if not mode & 0o001:
            return f"{each} is closed to other users (mode {mode & 0o7777:o})"
    return ""


def _planned(root: Path, path: Path, text: str, force: bool) -> Planned:
    if not path.parent.resolve().is_relative_to(root.resolve()):
        return Planned(path, text, "refused", f"{path.parent} leads out of {root}")
    if path.is_symlink() and not force:
        return Planned(path, text, "refused", f"it is a link to {os.readlink(path)}")
    if not path.exists():
        return Planned(path, text, "updated" if path.is_symlink() else "created")
    found = path.read_text(encoding="utf-8", errors="replace")
    if found == text and not path.is_symlink() and path.stat().st_mode & 0o7777 == _MODE:
        return Planned(path, text, "unchanged")
    if force or is_untouched(found):
        return Planned(path, text, "updated")
    return Planned(path, text, "refused", "it was changed by hand, or not written by this command")


def _make_directories(directory: Path) -> None:
    """Make what is missing of a path, open to readers whatever the umask is."""
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir()
        each.chmod(_DIRECTORY_MODE)


def _replace(path: Path, text: str) -> None:
    import tempfile

    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), _MODE)
        os.rename(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _digest(body: str) -> str:
    import hashlib

    return hashlib.sha256(body.encode()).hexdigest()[:16]
