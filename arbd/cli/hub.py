"""``arbd hub``: the embedded hub in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from arbd.cli import _hub
from arbd.cli._hub_status import status
from arbd.cli._options import LOCAL_HUB, SECONDS, KindType, ListenType, max_message_option, parent_option
from arbd.settings.kinds import seconds

if TYPE_CHECKING:
    from arbd.hub.server import HubOptions

READY: Final = "arbd hub: listening on "  # with the address: the first line on stdout, which `arbd dev` waits for


class _HubGroup(click.Group):
    """The hub, and what asks one that runs."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            said = f"There is no command {args[0]!r} of arbd hub: `arbd hub` serves one, `arbd hub status` asks one."
            raise click.UsageError(said, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Nothing: the one there is stands among the examples."""


@click.group(
    "hub",
    cls=_HubGroup,
    invoke_without_command=True,
    subcommand_metavar="[status]",
    short_help="The embedded hub, for development and tests.",
    epilog="""\b
Examples:
  arbd hub
  arbd hub --listen 127.0.0.1:0 --lease 5     any free port; tasks not answered in 5 s go to somebody else
  arbd hub --token s3cret                     only callers with this token
  arbd hub status                             who is connected to the one that runs, and what waits

Tasks and results are kept in memory: they end with this process. SIGTERM and Ctrl-C stop it.

Exit codes: 0 good, 1 it cannot listen there, 2 wrong command line, 71 something unexpected: start it again.""",
)
@click.option("--listen", type=ListenType(), default=LOCAL_HUB, show_default=True, help="Where to listen.")
@click.option(
    "--lease",
    type=KindType("seconds", seconds(0.01, 86_400)),
    default=30.0,
    show_default=True,
    help=f"How long a provider may take to answer before its task is given to another. {SECONDS}",
)
@click.option("--token", "tokens", multiple=True, help="Accept this token. May be repeated; without any, all may call.")
@max_message_option
@parent_option
@click.pass_context
def command(ctx: click.Context, listen: str, lease: float, tokens: tuple[str, ...], max_message: int) -> None:
    """Serve the Hub protocol, for development, tests and load; `arbd submit` gives it tasks."""
    if ctx.invoked_subcommand is not None:
        return
    import asyncio

    from arbd.hub.server import HubOptions

    _hub.require_listen(listen)
    options = HubOptions(address=listen, lease_s=lease, tokens=tokens, max_message=max_message)
    ctx.exit(asyncio.run(_serve(options)))


async def _serve(options: HubOptions) -> int:
    import asyncio
    import signal

    from arbd.hub.server import serve

    should_exit = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, should_exit.set)
    return await serve(options, should_exit=should_exit, on_ready=lambda address: click.echo(READY + address))


command.add_command(status)
