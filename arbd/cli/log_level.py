"""``arbd log-level``: which lines a running daemon writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from arbd.cli import _show
from arbd.cli._daemon import daemon_options

if TYPE_CHECKING:
    from arbd.control.protocol import LogLevel

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


@click.command(
    "log-level",
    short_help="Have a running daemon log more, or less.",
    epilog="""\b
Examples:
  arbd log-level debug           the daemon that runs here
  arbd log-level info prices     the one of provider prices, back to what is usual

The next start has the setting log.level again.

The exit code is 0 when the level is set, 1 if there is no daemon, 2 for a word that is no level.""",
)
@click.argument("level", metavar="LEVEL", type=click.Choice(_LEVELS))
@daemon_options
def command(path: Path, as_json: bool, level: LogLevel) -> None:
    """Write lines of LEVEL (debug, info, warning, error or critical) and above from now on, in every process of the
    daemon.

    A worker comes to it when its task has ended. DAEMON is the name of a provider or the path of a control socket; it
    may be left out if only one is running.
    """
    from arbd.control.client import ask
    from arbd.control.protocol import Done, SetLogLevel

    done = ask(path, SetLogLevel(level=level), Done)
    if as_json:
        _show.json_document({"log_level": level})
    else:
        _show.say(done.text)
