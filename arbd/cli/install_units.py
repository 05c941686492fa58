"""``arbd install-units``: the files with which systemd runs arbd."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from arbd.cli import _completers, _show, _unit_files
from arbd.cli._unit_files import NOTIFY_RELOAD, NOTIFY_RELOAD_SINCE, SYSTEM, UNIT, USER, Planned
from arbd.errors import EXIT_FAILURE, ConfigError

_NEEDED: Final = 252  # the systemd that looks for credentials in /etc/credstore
_NEXT: Final = (
    "systemd-sysusers arbd.conf && systemd-tmpfiles --create arbd.conf && systemctl daemon-reload",
    "write the settings of a provider to /etc/arbd/NAME.toml, its token to /etc/credstore/arbd.NAME.token (mode 0600)",
    "systemctl enable --now arbd@NAME && systemctl status arbd@NAME",
)
_NEXT_IN_IMAGE: Final = (
    "settings of a provider go to /etc/arbd/NAME.toml in it, its token to /etc/credstore/arbd.NAME.token (mode 0600)",
    "systemctl --root {root} enable arbd@NAME",
)
_NEXT_OF_USER: Final = (
    "systemctl --user daemon-reload",
    "write the settings of a provider to ~/.config/arbd/NAME.toml",
    "systemctl --user enable --now arbd@NAME && loginctl enable-linger",
)
_NEXT_OF_USERS_IN_IMAGE: Final = (
    "settings of a provider go to ~/.config/arbd/NAME.toml of the user, or to /etc/skel/.config/arbd/NAME.toml in it",
    "systemctl --root {root} --global enable arbd@NAME: for every user of the image",
)


@click.command(
    "install-units",
    short_help="Write the files with which systemd runs arbd.",
    epilog="""\b
Examples:
  arbd install-units                     for this machine; needs root
  arbd install-units --root ./image      into the tree of an image
  arbd install-units --user              for this user's own services
  arbd install-units --user --root DIR   into the tree of an image, for the services of its users
  arbd install-units --arbd /opt/arbd/bin/arbd

Run it again after an upgrade of arbd: it says what has changed.

The exit code is 0 when all is written, 1 if a file was refused; then none is written.""",
)
@click.option("--root", type=click.Path(file_okay=False, exists=True), help="Write into the tree below this directory.")
@click.option(
    "--user", "for_user", is_flag=True, help="Units of the user's own service manager: no root, less sandbox."
)
@click.option(
    "--arbd",
    "given",
    metavar="PATH",
    help="The command that the unit starts.  [default: this one]",
    shell_complete=_completers.files(),
)
@click.option("--force", is_flag=True, help="Replace files that were changed by hand, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(root: str | None, for_user: bool, given: str | None, force: bool, as_json: bool) -> None:
    """Write the unit arbd@.service (one instance for each provider), the user it runs as and its directories.

    The settings of arbd@NAME stand in /etc/arbd/NAME.toml. A file that was changed by hand is refused: changes belong
    into drop-ins, which stay.
    """
    top = Path(root or "/")
    version = _unit_files.systemd_version(top)
    chosen = given or _own_command()
    if not _unit_files.is_plain(chosen):
        raise click.BadParameter(
            f"{chosen!r} cannot stand in a unit: absolute, of letters, digits and ./+@~_-", param_hint="--arbd"
        )
    wanted = [(path, _unit_files.stamped(name, chosen)) for name, path in _places(top, root, for_user, version)]
    planned = _unit_files.plan(top, wanted, force=force)
    refused = any(file.state == "refused" for file in planned)
    if not refused:
        _unit_files.write(planned)
    notes = [*_notes(version, chosen, top, for_user=for_user, is_own=given is None and not root)]
    steps = [] if refused else [*_following(root, for_user=for_user)]
    if as_json:
        rows = [{"path": str(f.path), "state": f.state, "reason": f.reason} for f in planned]
        document = {"written": not refused, "command": chosen, "systemd": version, "files": rows, "notes": notes}
        _show.json_document({**document, "next": steps})
    else:
        _tell(planned, notes, steps, for_user=for_user)
    if refused:
        raise SystemExit(EXIT_FAILURE)


def _following(root: str | None, *, for_user: bool) -> Iterator[str]:
    """What is to be done next."""
    for_machine, in_image = (_NEXT_OF_USER, _NEXT_OF_USERS_IN_IMAGE) if for_user else (_NEXT, _NEXT_IN_IMAGE)
    for step in in_image if root else for_machine:
        yield step.format(root=shlex.quote(root or ""))


def _places(top: Path, root: str | None, for_user: bool, version: int | None) -> Iterator[tuple[str, Path]]:
    """The names of what is written, each with its path."""
    if for_user and root:
        yield USER.source, top / USER.place
    elif for_user:
        yield USER.source, _user_config() / "systemd/user" / Path(USER.place).name
    else:
        for file in SYSTEM:
            yield file.source, top / file.place
        if version is not None and version >= NOTIFY_RELOAD_SINCE:
            yield NOTIFY_RELOAD.source, top / NOTIFY_RELOAD.place


def _user_config() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _own_command() -> str:
    """The command of the installation that runs this. Raises ``ConfigError`` if it has none."""
    found = Path(sys.executable).parent / "arbd"
    if not found.exists():
        raise ConfigError([f"there is no command arbd beside {sys.executable}; name the one to start: --arbd PATH"])
    return str(found)


def _notes(version: int | None, chosen: str, top: Path, *, for_user: bool, is_own: bool) -> Iterator[str]:
    """What may keep the unit from working."""
    if version is None:
        needs = "" if for_user else f"; {UNIT.source} needs {_NEEDED} or newer"
        yield f"no systemd was found below {top}{needs}"
    elif version < _NEEDED and not for_user:  # whose unit uses none
        yield f"this is systemd {version}; {_NEEDED} or newer is needed for tokens from /etc/credstore"
    if for_user:
        return
    looked_at = {Path(chosen), *([Path(sys.executable).resolve()] if is_own else [])}
    for problem in filter(None, (_unit_files.out_of_reach(path, top) for path in sorted(looked_at))):
        yield f"{problem}: the unit cannot start it; install arbd elsewhere, such as in /opt/arbd"


def _tell(planned: list[Planned], notes: list[str], steps: list[str], *, for_user: bool) -> None:
    for file in planned:
        _show.say(f"{file.state:<10} {file.path}{': ' + file.reason if file.reason else ''}")
    for note in notes:
        _show.say(f"note: {note}", err=True)
    if any(file.state == "refused" for file in planned):
        edit = "systemctl --user edit arbd@" if for_user else "systemctl edit arbd@"
        _show.say(f"arbd: nothing was written. Put changes into a drop-in ({edit}), then say --force", err=True)
        return
    _show.say("", "Next:")
    for number, step in enumerate(steps, start=1):
        _show.say(f"  {number}. {step}")
