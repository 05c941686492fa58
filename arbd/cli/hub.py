"""``arbd hub``: the embedded hub in the foreground.

options, HUB_AUTH_TOKEN, files ─> who may call, TLS ─> is that enough for where it listens? ─> serve
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from arbd.cli import _completers, _hub, _show
from arbd.cli._help import ExamplesFirst, lay_out, words_of
from arbd.cli._hub_status import status
from arbd.cli._options import LOCAL_HUB, SECONDS, KindType, ListenType, max_message_option, parent_option
from arbd.errors import ConfigError
from arbd.settings.hub_address import is_local
from arbd.settings.kinds import seconds

if TYPE_CHECKING:
    from arbd.hub.server import HubOptions

READY: Final = "arbd hub: listening on "  # with the address: the first line on stdout, which `arbd dev` waits for
_PEM: Final = _completers.files()
_MOST_TOKENS: Final = 1 << 20  # bytes of the file that holds them
_OTHERS: Final = stat.S_IROTH | stat.S_IWOTH


class _HubGroup(ExamplesFirst, click.Group):
    """The hub, and what asks one that runs."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            from arbd.cli import _suggest

            raise click.UsageError(_suggest.not_below_hub(args[0], self.commands, words_of(ctx)), ctx)
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
  arbd hub --token-file hub.token             only callers with a token that stands in there
  arbd hub --listen 0.0.0.0:50051 --token-file hub.token --tls-cert hub.pem --tls-key hub.key
  arbd hub --listen 0.0.0.0:50051 --tls-cert hub.pem --tls-key hub.key --client-ca ca.pem
  arbd hub status                             who is connected to the one that runs, and what waits

Tasks and results are kept in memory: they end with this process. SIGTERM and Ctrl-C stop it.

Exit codes: 0 good, 1 it cannot listen there, 2 wrong command line, 71 something unexpected: start it again, 78 a file
that cannot be used.""",
)
@click.option("--listen", type=ListenType(), default=LOCAL_HUB, show_default=True, help="Where to listen.")
@click.option(
    "--lease",
    type=KindType("seconds", seconds(0.01, 86_400)),
    default=30.0,
    show_default=True,
    help=f"How long a provider may take to answer before its task is given to another. {SECONDS}",
)
@click.option(
    "--token-file",
    metavar="FILE",
    help="Accept the tokens in this file, one on each line. Without any token, all may call.",
    shell_complete=_completers.files(),
)
@click.option(
    "--token",
    "tokens",
    multiple=True,
    envvar="HUB_AUTH_TOKEN",
    help="Accept this token; may be repeated. `ps` shows it to every user of this machine: prefer --token-file, or the "
    "variable HUB_AUTH_TOKEN.",
)
@click.option("--tls-cert", metavar="FILE", help="PEM of the hub's certificate chain.", shell_complete=_PEM)
@click.option("--tls-key", metavar="FILE", help="PEM of its private key; both = TLS.", shell_complete=_PEM)
@click.option(
    "--client-ca",
    metavar="FILE",
    help="PEM of authorities: only callers with a certificate of theirs (mutual TLS).",
    shell_complete=_PEM,
)
@click.option("--insecure", is_flag=True, help="Listen for other hosts though anybody may call.")
@max_message_option
@parent_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    listen: str,
    lease: float,
    tokens: tuple[str, ...],
    token_file: str | None,
    insecure: bool,
    max_message: int,
    **files: str | None,
) -> None:
    """Serve the Hub protocol, for development, tests and load; `arbd submit` gives it tasks.

    For other hosts it listens only if callers need a token or a certificate.
    """
    if ctx.invoked_subcommand is not None:
        return
    import asyncio

    from arbd.hub.server import HubOptions

    known = [token.strip() for token in tokens if token.strip()]
    if known and ctx.get_parameter_source("tokens") is ParameterSource.COMMANDLINE:
        _warn("--token can be seen by every user of this machine (ps); write --token-file FILE, or set HUB_AUTH_TOKEN")
    if token_file is not None:
        known += _tokens_in(token_file)
    tls = _tls(**files)
    _judge(listen, bool(known), tls, insecure)
    _hub.require_listen(listen)
    options = HubOptions(address=listen, lease_s=lease, tokens=known, max_message=max_message, **tls)
    ctx.exit(asyncio.run(_serve(options)))


def _warn(text: str) -> None:
    _show.say(f"arbd hub: warning: {text}", err=True)


def _tokens_in(path: str) -> list[str]:
    """The tokens in a file. Raises ``ConfigError``."""
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = file.read(_MOST_TOKENS).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise ConfigError([f"--token-file {path} cannot be read: {reason}"]) from error
    tokens = [line.strip() for line in lines if line.strip()]
    if not tokens or not all(map(str.isprintable, tokens)):
        raise ConfigError([f"--token-file {path} must hold a token, or several, one on each line"])
    _warn_of_mode(path, mode)
    return tokens


def _warn_of_mode(path: str, mode: int) -> None:
    if stat.S_ISREG(mode) and mode & _OTHERS:
        _warn(f"{path} has mode {stat.S_IMODE(mode):04o}: others may read or change it; chmod 600 {path}")


def _tls(tls_cert: str | None, tls_key: str | None, client_ca: str | None) -> dict[str, Any]:
    """The options of a hub that stand for these files. Raises ``ConfigError`` for those that cannot be used."""
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together; give both or neither")
    if client_ca is not None and tls_cert is None:
        raise click.UsageError("--client-ca needs --tls-cert and --tls-key: certificates are a part of TLS")
    from arbd.links.tls_files import TlsFile, read_files

    tls = read_files(TlsFile("--client-ca", client_ca), TlsFile("--tls-cert", tls_cert), TlsFile("--tls-key", tls_key))
    if tls_key is not None:
        with suppress(OSError):  # it was there to be read, a moment ago
            _warn_of_mode(tls_key, os.stat(tls_key).st_mode)
    return {"tls_cert": tls.cert, "tls_key": tls.key, "client_ca": tls.ca}


def _judge(listen: str, has_token: bool, tls: dict[str, Any], insecure: bool) -> None:
    """Refuse to let other hosts in without asking who they are, and say what can be seen on the way."""
    if is_local(listen):
        return
    if not has_token and not tls["client_ca"]:
        if not insecure:
            raise click.UsageError(
                f"{listen} can be reached from other hosts, and anybody there could give tasks and take them: add "
                "--token-file FILE or --client-ca FILE, listen on 127.0.0.1, or say --insecure"
            )
        _warn(f"{listen} can be reached from other hosts, and anybody there may call (--insecure)")
    if not tls["tls_cert"]:
        _warn(f"{listen} is without TLS: whoever sees the connections has tokens and tasks; add --tls-cert, --tls-key")


async def _serve(options: HubOptions) -> int:
    import asyncio
    import signal

    from arbd.hub.server import serve

    should_exit = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, should_exit.set)
    scheme = "grpcs://" if options.tls_cert and not options.address.startswith("unix:") else ""

    def on_ready(address: str) -> None:
        _show.say(f"{READY}{scheme}{address}")

    return await serve(options, should_exit=should_exit, on_ready=on_ready)


command.add_command(lay_out(status))
