"""``arbd cancel``: cancels tasks at the embedded hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from arbd.cli import _hub, _show
from arbd.cli._hub_client import HubConnection, hub_options
from arbd.errors import EXIT_FAILURE, EXIT_OK, HubError

if TYPE_CHECKING:
    from arbd.hub.client import HubClient


@click.command(
    "cancel",
    short_help="Have tasks at the embedded hub stopped.",
    epilog="""\b
Examples:
  arbd cancel t-4711
  arbd submit report --count 100 > ids; xargs arbd cancel < ids

Each task is told with what became of it: cancelled, finished (it had its result already) or unknown. The exit code is 0
if all were cancelled, else 1.""",
)
@click.argument("task_ids", metavar="TASK_ID...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@hub_options
@click.pass_context
def command(ctx: click.Context, /, task_ids: tuple[str, ...], as_json: bool, hub: HubConnection) -> None:
    """Cancel tasks that were sent to a hub which `arbd hub` or `arbd dev` runs.

    One that waits is not started. One that runs is stopped where it runs, first by an exception in its action, then, if
    it goes on, with its worker. Its result is then an error with the code CANCELLED. A hub with tokens is given the one
    in PROVIDER_AUTH_TOKEN, or in --token-file.
    """
    import asyncio

    ctx.exit(asyncio.run(_cancel(hub, task_ids, as_json)))


async def _cancel(hub: HubConnection, task_ids: Sequence[str], as_json: bool) -> int:
    fates = []
    deadline = _hub.Deadline(None)
    async with _hub.client(hub, deadline) as client:
        for task_id in task_ids:
            try:
                fate = await _fate(client, task_id)
            except HubError as error:
                raise _hub.explained(error, hub, deadline) from error
            fates.append(fate)
            if as_json:
                _show.json_line({"id": task_id, "fate": fate})
            else:
                _show.say(f"{task_id} {fate}")
    return EXIT_OK if set(fates) == {"cancelled"} else EXIT_FAILURE


async def _fate(client: HubClient, task_id: str) -> str:
    """What became of a task that was to be cancelled."""
    try:
        return "cancelled" if await client.cancel(task_id) else "finished"
    except HubError as error:
        if error.code == "NOT_FOUND":
            return "unknown"
        raise
