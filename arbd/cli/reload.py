"""``arbd reload``: the code of a running daemon, loaded again."""

from __future__ import annotations

from pathlib import Path

import click

from arbd.cli._daemon import daemon_options
from arbd.cli._follow import follow


@click.command(
    "reload",
    short_help="Load the provider's code again, without losing a task.",
    epilog="""\b
Examples:
  arbd reload                    the daemon that runs here
  arbd reload prices             the one of provider prices
  arbd reload --no-wait          do not wait until the new code serves
  kill -HUP PID                  the same, without an answer

The exit code is 0 when the new code serves in every worker, 1 if it does not load: the code that was running goes on.
""",
)
@click.option("--no-wait", is_flag=True, help="Return as soon as the daemon has begun.")
@daemon_options
def command(path: Path, as_json: bool, no_wait: bool) -> None:
    """Load the provider's code again, beside the code that runs, and move over to it if that works.

    Tasks that run finish in the old code. DAEMON is the name of a provider or the path of a control socket; it may be
    left out if only one is running.
    """
    from arbd.control.client import ask
    from arbd.control.protocol import OperationReply, Reload

    follow(path, ask(path, Reload(), OperationReply).operation, as_json, wait=not no_wait)
