"""The installed unit of systemd: asked of ``systemctl cat``, or read from the directories in which systemd looks.

a path                     that file, and the drop-ins of FILE.d
a name                     systemctl cat NAME, if there is a systemd that answers; else, in the order of precedence:
                           /etc, /run, /usr/local/lib, /usr/lib, /lib below systemd/system
                           NAME.service or, for an instance, its template; drop-ins of both; for a unit of a user
                           ~/.config, /etc, $XDG_RUNTIME_DIR, /run, ~/.local/share, /usr/... below systemd/user
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
from arbd.host import process_facts, runtime_dir

_ASK_TIMEOUT_S: Final = 5.0
_MOST: Final = 1 << 20  # bytes of a file
_SYSTEM: Final = tuple(Path(top, "systemd/system") for top in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))
_SHARED_USER: Final = ("/usr/local/lib/systemd/user", "/usr/lib/systemd/user")
#: The specifiers that stand for a directory, in a unit of the machine.
_TOPS: Final = {"E": "/etc", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "t": "/run", "h": "/root"}
_HEADER: Final = re.compile(r"^# (/\S+)$", re.MULTILINE)
_STORES: Final = ("/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore")
#: Of each variable the line of the unit that brings it, and the specifier of the directory in which it is made.
_DIRECTORIES: Final = {"RUNTIME_DIRECTORY": ("RuntimeDirectory", "t"), "STATE_DIRECTORY": ("StateDirectory", "S")}
_STATE_HOME_SINCE: Final = 254  # the systemd whose units of users have their state in $XDG_STATE_HOME
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
    return process_facts.started_at(int(pid)) if pid.isdecimal() and int(pid) else None


def environment_of(unit: Unit) -> dict[str, str]:
    """The environment that the unit is given by its own lines, its environment files and its directories."""
    from arbd.settings import env_file

    found: dict[str, str] = {}
    for value in unit.all("Environment"):
        found |= dict(pair.split("=", 1) for pair in _spaced(value) if "=" in pair)
    for value in unit.all("EnvironmentFile"):
        text = _text(Path(value.removeprefix("-")))
        found |= env_file.parse(text or "", value).values
    for variable, (name, specifier) in _DIRECTORIES.items():
        if words := unit.words(name):
            found[variable] = f"{unit.specifiers[specifier]}/{words[0].partition(':')[0]}"
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
    tops = _tops_of_user(environ) if is_user else _TOPS
    return Unit(
        name, files, tuple(lines),
        {"i": instance, "I": instance, "n": name, "N": stem, "p": prefix, "P": prefix, "%": "%", "T": "/tmp",
         "V": "/var/tmp", "d": f"{tops['t']}/credentials/{name}", **tops},
    )  # fmt: skip


def _tops_of_user(environ: Mapping[str, str]) -> dict[str, str]:
    """The specifiers that stand for a directory, in a unit of a user's own manager (systemd.unit(5), systemd.exec(5)),
    as long as that has the environment of whoever asks."""

    def place(variable: str, below_home: str) -> str:
        return environ.get(variable) or f"{home}/{below_home}"

    home = environ.get("HOME", "")
    config = place("XDG_CONFIG_HOME", ".config")
    version = _version()
    state = config if version is not None and version < _STATE_HOME_SINCE else place("XDG_STATE_HOME", ".local/state")
    runtime = environ.get("XDG_RUNTIME_DIR") or f"{runtime_dir.SESSIONS}/{os.getuid()}"
    cache = place("XDG_CACHE_HOME", ".cache")
    return {"E": config, "S": state, "C": cache, "L": f"{state}/log", "t": runtime, "h": home}


def _version() -> int | None:
    """The version of systemd; ``None``: there is none that says."""
    said = re.match(r"systemd (\d+)", _systemctl(["--version"], False) or "")
    return int(said[1]) if said else None


def _user_directories(environ: Mapping[str, str]) -> list[Path]:
    tops = _tops_of_user(environ)
    data = environ.get("XDG_DATA_HOME") or f"{tops['h']}/.local/share"
    own = (f"{tops['E']}/systemd/user", "/etc/systemd/user", f"{tops['t']}/systemd/user", "/run/systemd/user")
    return [Path(place) for place in (*own, f"{data}/systemd/user", *_SHARED_USER)]


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
