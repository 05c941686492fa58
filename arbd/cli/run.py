"""``arbd run``: the daemon in the foreground."""

from __future__ import annotations

import click

from arbd.cli import _completers
from arbd.cli._options import CommandSettings, parent_option, settings_options


@click.command(
    "run",
    short_help="Run a provider against the hub.",
    epilog="""\b
Examples:
  arbd run my_provider.py                    the one provider in that file
  arbd run my_package.provider:build         what the function build() returns
  arbd run prices --hub hub:50051 --workers 4
  arbd run my_provider.py -- --region eu     arguments for the provider's own sys.argv

SIGTERM and Ctrl-C finish running tasks first; a second one stops at once. SIGHUP loads the code again.
The token comes from PROVIDER_AUTH_TOKEN or from the file that hub.auth_token_file names. Settings without an option
here: `arbd config` lists all, with where each comes from.

Exit codes: 0 good, 1 results could not be delivered, 2 wrong command line, 70 the provider's code failed, 71 something
unexpected: start it again, 78 wrong settings or TARGET, or a machine that arbd cannot run on.""",
)
@click.argument("target", required=False, shell_complete=_completers.target)
@click.argument("argv", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--script", is_flag=True, hidden=True, help="TARGET is a script that calls provider.start().")
@parent_option
@settings_options
@click.pass_context
def command(
    ctx: click.Context, target: str | None, argv: tuple[str, ...], script: bool, given: CommandSettings
) -> None:
    """Take tasks from the hub, run them, and send the results back.

    TARGET is module, module:attribute or path/file.py[:attribute]; the attribute is a Provider, a subclass of it, or a
    function that returns one.
    """
    found = given.required_target(target)
    from arbd.supervisor.main import run
    from arbd.supervisor.request import RunRequest

    ctx.exit(
        run(RunRequest(target=found, argv=list(argv), flags=given.flags, config_file=given.config_file, script=script))
    )
