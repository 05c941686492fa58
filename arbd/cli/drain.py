"""``arbd drain``: a running daemon takes no more tasks, and finishes those it has."""

from __future__ import annotations

from pathlib import Path

import click

from arbd.cli._daemon import daemon_options


@click.command(
    "drain",
    short_help="Have a daemon take no more tasks and finish those it has.",
    epilog="""\b
Examples:
  arbd drain                     wait until the daemon that runs here has nothing left
  arbd drain prices --no-wait    the one of provider prices; `arbd status prices` tells how far it is
  arbd drain && systemctl stop arbd@prices
  arbd resume                    take tasks again, also before the drain is over

The exit code is 0 when nothing is left (with --no-wait: when it has begun), 1 if the daemon was resumed or has ended
meanwhile, or if there is none.""",
)
@click.option("--no-wait", is_flag=True, help="Return at once; the daemon goes on draining.")
@daemon_options
def command(path: Path, as_json: bool, no_wait: bool) -> None:
    """Have a running daemon take no more tasks from its hub, and wait until it has finished those it has and the hub
    has every result. The daemon lives on, and takes tasks again after `arbd resume`.

    DAEMON is the name of its provider or the path of its control socket; it may be left out if only one is running.
    Tasks that wait for a paused action are answered with the status limit. Ctrl-C ends the waiting, not the drain.
    """
    from arbd.cli._follow import follow
    from arbd.control.client import ask
    from arbd.control.protocol import DrainDaemon, OperationReply

    follow(path, ask(path, DrainDaemon(), OperationReply).operation, as_json, wait=not no_wait)
