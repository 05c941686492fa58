"""``arbd pause``: a running daemon begins no more tasks of an action."""

from __future__ import annotations

from pathlib import Path

import click

from arbd.cli._daemon import daemon_option
from arbd.cli._follow import carry_out


@click.command(
    "pause",
    short_help="Have a daemon begin no more tasks of an action.",
    epilog="""\b
Examples:
  arbd pause order               of the daemon that runs here
  arbd pause order --daemon prices
  arbd resume order              begin them again, those that waited first

The exit code is 0 if the action is paused, 1 if there is no such action or no daemon.""",
)
@click.argument("action")
@daemon_option
def command(path: Path, as_json: bool, action: str) -> None:
    """Have a running daemon begin no more tasks of ACTION until `arbd resume ACTION`.

    Those that run finish. Those that wait, and those that come, wait for the end of the pause, at most 256; the others
    are answered with the status limit and a time to wait. Other actions are not held up. A pause outlives reloads, and
    ends with the daemon.
    """
    from arbd.control.protocol import PauseAction

    carry_out(path, PauseAction(action=action), as_json)
