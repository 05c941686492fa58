"""``arbd kill``: ends one task of a running daemon."""

from __future__ import annotations

from pathlib import Path

import click

from arbd.cli import _completers
from arbd.cli._daemon import daemon_option
from arbd.cli._follow import carry_out


@click.command(
    "kill",
    short_help="End one task of a daemon, wherever it is.",
    epilog="""\b
Examples:
  arbd kill t-4711
  arbd kill t-4711 --daemon prices
  arbd status --json | jq -r '.workers[].running.id'      the tasks that run

The exit code is 0 if the task is being ended, 1 if it is not known or has its result already, or if there is no
daemon.""",
)
@click.argument("task_id", shell_complete=_completers.running_tasks)
@daemon_option
def command(path: Path, as_json: bool, task_id: str) -> None:
    """End the task TASK_ID of a running daemon. It is answered with an error with the code CANCELLED.

    One that waits is answered at once. One that runs is stopped where it runs, by an exception in its action; if it
    still runs after `kill_grace` (0.25 s unless set otherwise), its worker is killed and replaced. `arbd cancel` asks a
    hub for the same.
    """
    from arbd.control.protocol import Kill

    carry_out(path, Kill(task_id=task_id), as_json)
