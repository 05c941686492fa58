"""``arbd hub status``: who is connected to an embedded hub, and what waits there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from arbd.cli import _hub, _show
from arbd.cli._daemon import count, duration
from arbd.cli._hub_client import HubConnection, hub_options
from arbd.cli._options import SECONDS, KindType
from arbd.core.history import shown
from arbd.errors import HubError
from arbd.settings.kinds import seconds, show_size

if TYPE_CHECKING:
    from arbd.hub.client import HubStatus
    from arbd.hub.presence import ProviderPresence

_COLUMNS: Final = ("provider", "connected", "tasks", "actions")
_MOST_ACTIONS: Final = 200  # characters of a line
_KIB: Final = 1024


@click.command(
    "status",
    short_help="Who is connected to a hub, and what waits.",
    epilog="""\b
Examples:
  arbd hub status
  arbd hub status --hub 127.0.0.1:50052
  arbd hub status --json | jq '.providers[].name'

The exit code is 0 if the hub answers, else 1. A hub with tokens is given the one in PROVIDER_AUTH_TOKEN.""",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--timeout",
    "timeout_s",
    type=KindType("seconds", seconds(0.05, 86_400)),
    default=5.0,
    show_default=True,
    help=f"How long the answer may take. {SECONDS}",
)
@hub_options
def status(hub: HubConnection, as_json: bool, timeout_s: float) -> None:
    """Ask a hub that `arbd hub` or `arbd dev` runs who is connected, how many tasks wait, and who has how many."""
    import asyncio

    found = asyncio.run(_ask(hub, timeout_s))
    if as_json:
        _show.json_document(found)
        return
    for line in _lines(hub, found):
        _show.say(line)
    if found.providers:
        _show.say()
        _show.table(_COLUMNS, map(_row, found.providers))


async def _ask(hub: HubConnection, timeout_s: float) -> HubStatus:
    deadline = _hub.Deadline(timeout_s)
    try:
        async with _hub.client(hub, deadline) as client:
            return await client.status()
    except HubError as error:
        raise _hub.explained(error, hub, deadline) from error


def _lines(hub: HubConnection, found: HubStatus) -> Iterator[str]:
    most = show_size(found.max_message // _KIB * _KIB)
    yield f"hub     {hub}, up {duration(found.uptime_s)}; takes messages of up to {most}"
    yield (
        f"tasks   {found.queued} wait for a provider, {found.leased} are with one (lease {found.lease_s:g} s), "
        f"{found.finished} finished"
    )
    if not found.connected:
        yield f"nobody is connected; start a provider: arbd run PROVIDER.py --hub {hub}"


def _row(each: ProviderPresence) -> tuple[str, ...]:
    if not each.is_connected:
        how = "no more: its tasks go to others when their leases end"
    elif each.streams:
        how = count(each.streams, "stream")
    else:
        how = f"by calls, {count(each.polls, 'poll')} waiting"
    actions = ", ".join(map(shown, each.actions)) if each.actions else "not told"
    return shown(each.name) or "(no name)", how, str(each.leased), shown(actions, _MOST_ACTIONS)
