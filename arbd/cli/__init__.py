"""The ``arbd`` command. One file per subcommand, loaded when it is used.

This file owns what all commands share: finding them, and telling what went wrong. A subcommand raises ``ArbdError``;
here it becomes one message on stderr and an exit code of ``arbd.errors``, with a traceback only after ``--debug``.
Command modules import what is heavy (gRPC, rich, watchfiles, the supervisor) inside their functions, so that
``arbd version`` or ``arbd --help`` answers at once.
"""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from typing import IO, Any, Final

import click

from arbd.errors import EXIT_CONFIG, EXIT_FAILURE, EXIT_ZYGOTE, ArbdError, ConfigError, ZygoteError
from arbd.host import hangup, process_state

# In the order of --help: first what one starts with.
COMMANDS: Final = (
    *("demo", "dev", "run", "check", "doctor", "schema", "config", "status", "limits", "stacks"),
    *("drain", "pause", "resume", "kill"),
    *("events", "reload", "scale", "replace", "log-level"),
    *("hub", "submit", "cancel", "bench", "install-units", "version"),
)


class _Failure(click.ClickException):
    """An ``ArbdError`` on its way to the operator."""

    def __init__(self, error: ArbdError, debug: bool) -> None:
        super().__init__(_message(error))
        self.exit_code = _exit_code(error)  # type: ignore[misc] # a ClassVar for click, which reads it from here
        self._error = error
        self._debug = debug

    def show(self, file: IO[Any] | None = None) -> None:
        if self._debug:
            traceback.print_exception(self._error, file=file or sys.stderr)
        click.echo(f"arbd: {self.message}", file=file, err=True)


# Those that stay: what they print on stderr must not wait for whoever reads it, see ``arbd.logs.own_stderr``.
_DAEMONS: Final = ("dev", "run", "hub")


class _Commands(click.Group):
    """The subcommands, imported by name, and the one place where errors end."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"arbd.cli.{cmd_name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] in _DAEMONS:
            from arbd import logs

            logs.own_stderr(counts_for_all=args[0] != "hub")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ArbdError as error:
            raise _Failure(error, ctx.params["debug"]) from error


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Start here:
  arbd demo                      see it work on real data
  arbd dev my_provider.py        try your own, with a hub of its own
  arbd run my_package.provider   run it against the hub of your settings

Exit codes: 0 good, 1 failed while running, 2 wrong command line, 70 the provider's code failed,
71 something unexpected: start it again, 78 wrong settings.""",
)
@click.option("--debug", is_flag=True, help="Show a traceback with every error.")
def cli(debug: bool) -> None:
    """Run a provider: take tasks from a hub, run their actions in pinned worker processes, send every result back."""


def main() -> None:
    """Run the command that the arguments name."""
    hangup.survive(sys.argv[1:])  # again, for whoever comes here directly
    process_state.establish()
    cli(prog_name="arbd")


def _exit_code(error: ArbdError) -> int:
    if isinstance(error, ConfigError):
        return EXIT_CONFIG
    return EXIT_ZYGOTE if isinstance(error, ZygoteError) else EXIT_FAILURE


def _message(error: ArbdError) -> str:
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        return "\n  - ".join([f"{len(error.problems)} problems", *error.problems])
    return str(error)
