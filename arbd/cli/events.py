"""``arbd events``: the last notable things that happened in a running daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arbd.cli import _show
from arbd.cli._daemon import daemon_options, duration, fields_of, watch
from arbd.core.history import shown

if TYPE_CHECKING:
    from arbd.control.reports import NotableEvent


@click.command(
    "events",
    short_help="The last notable things: replacements, reloads, hub trouble.",
    epilog="""\b
Examples:
  arbd events                    of the daemon that runs here
  arbd events prices --follow    of provider prices, and those that come, until Ctrl-C
  arbd events --json | jq '.[] | select(.level == "error") | .event'

With --json and --follow, every event is one line of JSON. The daemon keeps the last 256.

The exit code is 0 if the daemon answers, 1 if there is none, or if it ends while it is followed.""",
)
@click.option("--follow", is_flag=True, help="Show those that come, too, until Ctrl-C.")
@daemon_options
def command(path: Path, as_json: bool, follow: bool) -> None:
    """Show the notable events of a running daemon, oldest first: the lines of its log that tell of replaced workers,
    reloads, commands, slots out of service, trouble with the hub.

    They are kept whatever log level is set. DAEMON is the name of a provider or the path of a control socket; it may be
    left out if only one is running.
    """
    from arbd.control.client import ask
    from arbd.control.protocol import EventsReply, GetEvents

    last = 0

    def look() -> None:
        nonlocal last
        events = ask(path, GetEvents(after=last), EventsReply).events
        last = max([last, *(event.number for event in events)])
        for event in events:
            if as_json:
                _show.json_line(event)
            else:
                _show.say(_line(event))

    if follow:
        watch(look)
    elif as_json:
        _show.json_document(ask(path, GetEvents(), EventsReply).events)
    else:
        look()
        if not last:
            _show.say("nothing notable has happened since the daemon was started", err=True)


def _line(event: NotableEvent) -> str:
    return f"{duration(event.ago_s):>12} ago  {shown(event.level):8} {shown(event.event)}  {fields_of(event)}".rstrip()
