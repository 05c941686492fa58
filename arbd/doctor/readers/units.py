"""The installed unit of systemd: asked of ``systemctl cat``, or read from the directories in which systemd looks.

a path                     that file, and the drop-ins of FILE.d
a name                     systemctl cat NAME, if there is a systemd that answers; else, in the order of precedence:
                           /etc, /run, /usr/local/lib, /usr/lib, /lib below systemd/system
                           NAME.service or, for an instance, its template; drop-ins of both
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from arbd.doctor.unit_text import Unit, UnitLine, parse

_ASK_TIMEOUT_S: Final = 5.0
_MOST: Final = 1 << 20  # bytes of a file
_SYSTEM: Final = tuple(Path(top, "systemd/system") for top in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))
_HEADER: Final = re.compile(r"^# (/\S+)$", re.MULTILINE)
_STORES: Final = ("/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore")
_SPACED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|(\S+)')


def find(named: str, environ: Mapping[str, str], *, is_user: bool, instance: str = "") -> Unit | None:
    """The unit of this name or at this path; ``None``: there is none. ``instance``: for a template that is named by
    its path."""
    if "/" in named:
        return _at(Path(named), environ, is_user, instance)
    name = named if named.endswith(".service") else f"{named}.service"
    asked = _ask(name, is_user)
    if asked is not None:
        shown = _unit(name, tuple(_HEADER.findall(asked)), parse(asked), environ, is_user)
        return msgspec.structs.replace(shown, is_loaded=True)
    return _search(name, _user_directories(environ) if is_user else _SYSTEM, environ, is_user)


def needs_reload(unit: Unit, *, is_user: bool) -> bool:
    """Whether systemd says that this unit has changed since it was read."""
    return unit.is_loaded and _systemctl(["show", "-p", "NeedDaemonReload", "--value", unit.name], is_user) == "yes"


def started_at(unit: Unit, *, is_user: bool) -> float | None:
    """When the unit was started, in seconds since 1970; ``None``: it does not run, or nobody says."""
    if not unit.is_loaded:
        return None
    pid = _systemctl(["show", "-p", "MainPID", "--value", unit.name], is_user) or ""
    try:
        return Path(f"/proc/{int(pid)}").stat().st_ctime if int(pid) else None
    except (OSError, ValueError):
        return None


def environment_of(unit: Unit) -> dict[str, str]:
    """The environment that the unit is given by its own lines, its environment files and its directories."""
    from arbd.settings import env_file

    found: dict[str, str] = {}
    for value in unit.all("Environment"):
        found |= dict(pair.split("=", 1) for pair in _spaced(value) if "=" in pair)
    for value in unit.all("EnvironmentFile"):
        text = _text(Path(value.removeprefix("-")))
        found |= env_file.parse(text or "", value).values
    for variable, name, top in (
        ("RUNTIME_DIRECTORY", "RuntimeDirectory", "/run"),
        ("STATE_DIRECTORY", "StateDirectory", "/var/lib"),
    ):
        if words := unit.words(name):
            found[variable] = f"{top}/{words[0].partition(':')[0]}"
    return found


def credential_sources(unit: Unit) -> dict[str, str]:
    """For each credential of ``LoadCredential=`` the file that it is copied from; those that are not there are left
    out."""
    found = {}
    for value in unit.all("LoadCredential"):
        name, _, place = value.partition(":")
        places = [place] if place.startswith("/") else [f"{store}/{place or name}" for store in _STORES]
        present = next((each for each in places if _is_there(each)), None)
        if present is not None:
            found[name] = present
    return found


def _is_there(path: str) -> bool:
    try:
        os.stat(path)
    except PermissionError:
        return True  # in a directory that is closed to us: systemd sees what is there
    except OSError:
        return False
    return True


def _ask(name: str, is_user: bool) -> str | None:
    return _systemctl(["cat", "--no-pager", name], is_user)


def _systemctl(arguments: Sequence[str], is_user: bool) -> str | None:
    """What ``systemctl`` prints; ``None`` if it fails, or there is none."""
    command = ["systemctl", *(["--user"] if is_user else []), *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else None


def _at(file: Path, environ: Mapping[str, str], is_user: bool, instance: str) -> Unit | None:
    text = _text(file)
    if text is None:
        return None
    drop_ins = _drop_ins([Path(f"{file}.d")])
    name = file.name.replace("@.", f"@{instance}.") if instance else file.name
    return _joined(name, [(file, text), *drop_ins], environ, is_user)


def _search(name: str, directories: Sequence[Path], environ: Mapping[str, str], is_user: bool) -> Unit | None:
    prefix, at, _ = name.partition("@")
    names = [name, f"{prefix}@.service"] if at else [name]
    for each in names:
        for directory in directories:
            if (text := _text(directory / each)) is not None:
                places = [place / f"{one}.d" for one in reversed(names) for place in reversed(directories)]
                return _joined(name, [(directory / each, text), *_drop_ins(places)], environ, is_user)
    return None


def _drop_ins(directories: Sequence[Path]) -> list[tuple[Path, str]]:
    """Drop-ins in the order of their names; of two with one name the one that comes later in ``directories``."""
    found: dict[str, tuple[Path, str]] = {}
    for directory in directories:
        for file in sorted(directory.glob("*.conf")):
            if (text := _text(file)) is not None:
                found[file.name] = (file, text)
    return [found[name] for name in sorted(found)]


def _joined(name: str, parts: Sequence[tuple[Path, str]], environ: Mapping[str, str], is_user: bool) -> Unit:
    lines = [line for _, text in parts for line in parse(text)]
    return _unit(name, tuple(str(file) for file, _ in parts), lines, environ, is_user)


def _unit(
    name: str, files: tuple[str, ...], lines: Sequence[UnitLine], environ: Mapping[str, str], is_user: bool
) -> Unit:
    stem = name.removesuffix(".service")
    prefix, _, instance = stem.partition("@")
    home = environ.get("HOME", "")
    config = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    tops = {"E": config, "S": f"{config}/../.local/state"} if is_user else {"E": "/etc", "S": "/var/lib"}
    return Unit(
        name, files, tuple(lines),
        {"i": instance, "I": instance, "n": name, "N": stem, "p": prefix, "P": prefix, "%": "%", "C": "/var/cache",
         "t": "/run", "h": home, "d": f"/run/credentials/{name}", **tops},
    )  # fmt: skip


def _user_directories(environ: Mapping[str, str]) -> list[Path]:
    config = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config"
    return [Path(config, "systemd/user"), Path("/etc/systemd/user"), Path("/usr/lib/systemd/user")]


def _spaced(text: str) -> Iterator[str]:
    """The words of a line, in quotes or not."""
    for double, single, bare in _SPACED.findall(text):
        yield double or single or bare


def _text(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            return opened.read(_MOST).decode("utf-8", "replace")
    except OSError:
        return None
