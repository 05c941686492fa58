"""``arbd scale``: how many workers a running daemon has from now on."""

from __future__ import annotations

from pathlib import Path

import click

from arbd.cli._daemon import daemon_options
from arbd.cli._follow import follow


@click.command(
    "scale",
    short_help="Have another number of workers.",
    epilog="""\b
Examples:
  arbd scale 8                   the daemon that runs here has 8 workers from now on
  arbd scale 2 prices            the one of provider prices has 2
  arbd scale 8 --no-wait         do not wait until all 8 serve
  kill -TTIN PID                 one more; kill -TTOU PID: one fewer

The exit code is 0 when so many workers serve, 1 if that cannot be: the answer says why.""",
)
@click.argument("workers", metavar="N", type=int)
@click.option("--no-wait", is_flag=True, help="Return as soon as the daemon has begun.")
@daemon_options
def command(path: Path, as_json: bool, workers: int, no_wait: bool) -> None:
    """Have N workers, 1 to 1024, from now on. The next start has as many as the setting workers says.

    New workers get CPUs as at the start. Of too many, the last ones finish what they have, and end: no task is lost.
    DAEMON is the name of a provider or the path of a control socket; it may be left out if only one is running.
    """
    from arbd.control.client import ask
    from arbd.control.protocol import OperationReply, Scale

    follow(path, ask(path, Scale(workers=workers), OperationReply).operation, as_json, wait=not no_wait)
