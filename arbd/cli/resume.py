"""``arbd resume``: a running daemon takes tasks again, or runs a paused action again."""

from __future__ import annotations

from pathlib import Path

import click

from arbd.cli import _completers
from arbd.cli._daemon import daemon_option
from arbd.cli._follow import carry_out
from arbd.errors import ControlError


@click.command(
    "resume",
    short_help="End a drain, or the pause of an action.",
    epilog="""\b
Examples:
  arbd resume order              run the paused action order again
  arbd resume                    take tasks again after a drain, and run every paused action again
  arbd resume --daemon prices    the same, of the daemon of provider prices

The exit code is 0 also if nothing was drained or paused, 1 if there is no such action or no daemon, or if the daemon
is stopping.""",
)
@click.argument("action", required=False, shell_complete=_completers.paused_actions)
@daemon_option
def command(path: Path, as_json: bool, action: str | None) -> None:
    """Have a running daemon run tasks of ACTION again; without one, take tasks again after `arbd drain`, and run every
    paused action again.

    Tasks that waited are run first, by their priority and in the order they came.
    """
    from arbd.control import names
    from arbd.control.protocol import Resume

    try:
        carry_out(path, Resume(action=action), as_json)
    except ControlError as error:
        name = names.parse(path.name)
        if action and name and names.matches(name, action):  # `arbd drain prices` takes the daemon's name as it is
            raise ControlError(f"{error}; the daemon takes tasks again by: arbd resume --daemon {action}") from error
        raise
