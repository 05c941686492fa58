"""The ``arbd`` command. One file per subcommand, loaded when it is used.

This file owns what all commands share: finding them (``_groups.py`` is their table), and telling what went wrong. A
subcommand raises ``ArbdError``; here it becomes one message on stderr and an exit code of ``arbd.errors``, with a
traceback only after ``--debug``. A word that is no command or no option is told with what it may have meant
(``_suggest.py``). Command modules import what is heavy (gRPC, rich, watchfiles, the supervisor) inside their functions,
so that ``arbd version`` or ``arbd --help`` answers at once.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from typing import IO, Any, Final

import click

from arbd.cli._groups import COMMANDS as COMMANDS
from arbd.cli._groups import GROUPS, STEERING
from arbd.cli._help import lay_out, options_of, words_of
from arbd.errors import (
    EXIT_CONFIG,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_ZYGOTE,
    ArbdError,
    ConfigError,
    ZygoteError,
)
from arbd.host import hangup, priority, process_state
from arbd.printable import printable, printable_lines

_MOST_OF_MESSAGE: Final = 2000  # characters: a hub may answer with anything
COMPLETE_VARIABLE: Final = "_ARBD_COMPLETE"  # set by the scripts of `arbd completion`: answer, run nothing


class _Failure(click.ClickException):
    """An ``ArbdError`` on its way to the operator."""

    def __init__(self, error: ArbdError, debug: bool) -> None:
        super().__init__(message_of(error))
        self.exit_code = _exit_code(error)  # type: ignore[misc] # a ClassVar for click, which reads it from here
        self._error = error
        self._debug = debug

    def show(self, file: IO[Any] | None = None) -> None:
        if self._debug:
            import textwrap
            import traceback

            trace = "".join(traceback.format_exception(self._error))
            # Indented: what the error says may have lines of its own, and they must not look like one of ours.
            click.echo(textwrap.indent(printable_lines(trace), "  "), file=file, err=True, nl=False)
        click.echo(f"arbd: {self.message}", file=file, err=True)


# Those that stay: what they print on stderr must not wait for whoever reads it, see ``arbd.logs.own_stderr``.
_DAEMONS: Final = ("dev", "run", "hub")
# Those that an operator waits for, perhaps because every CPU is burnt: they are over before there is any garbage.
_SHORT: Final = frozenset(GROUPS[STEERING]) - {"top", "trace", "profile"}


class _Commands(click.Group):
    """The subcommands, imported by name, and the one place where errors end."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"arbd.cli.{cmd_name.replace('-', '_')}").command
        return lay_out(command)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from arbd.cli import _suggest

            message = _suggest.option_before_command(error.option_name, options_of(self, ctx))
            raise click.UsageError(message, ctx) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            from arbd.cli import _suggest

            raise click.UsageError(_suggest.unknown_command(args[0], COMMANDS), ctx)
        stays = args[0] in _DAEMONS and args[:2] != ["hub", "status"]
        if stays and not ctx.resilient_parsing and not _asks_for_help(args):
            from arbd import logs

            logs.own_stderr(counts_for_all=args[0] != "hub")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ArbdError as error:
            raise _Failure(error, ctx.params["debug"]) from error
        except click.NoSuchOption as error:
            raise _no_such_option(error, options_of(self, ctx)) from error
        except click.ClickException as error:
            text = printable_lines(error.message).replace("\n", "\n  ")  # it may name what an author has named
            error.message = text  # type: ignore[misc] # final for a good reason, but there is no other way in
            raise
        except KeyboardInterrupt:
            click.echo(err=True)  # behind the ^C
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for heading, names in GROUPS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            room = formatter.width - width - 6
            with formatter.section(heading):
                formatter.write_dl(
                    [(name.ljust(width), each.get_short_help_str(room)) for name, each in commands if each is not None]
                )


def _asks_for_help(args: list[str]) -> bool:
    """Whether a command only explains itself; what stands behind ``--`` is the author's."""
    own = args[: args.index("--")] if "--" in args else args
    return not {"-h", "--help"}.isdisjoint(own)


def _no_such_option(error: click.NoSuchOption, before: list[str]) -> click.UsageError:
    """An option that its command does not have, told with what it may have meant; ``before``: those before commands."""
    from arbd.cli import _suggest

    ctx = error.ctx
    assert ctx is not None  # click says who has parsed
    return click.UsageError(_suggest.unknown_option(error.option_name, words_of(ctx, before)), ctx)


def _print_version(ctx: click.Context, _param: click.Parameter, is_wanted: bool) -> None:
    if is_wanted and not ctx.resilient_parsing:
        from arbd.tuning.machine import version_of

        click.echo(f"arbd {version_of('arbd')}")
        ctx.exit()


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  arbd demo                      see it work on real data
  arbd dev my_provider.py        try your own, with a hub of its own
  arbd run my_package.provider   run it against the hub of your settings
  arbd status                    how the daemon is that runs here
  arbd status --help             what a command does, with examples

Exit codes: 0 good, 1 failed while running, 2 wrong command line, 3 slower than before (bench), 70 the provider's code
failed, 71 something unexpected: start it again, 78 wrong settings, 130 interrupted by Ctrl-C.""",
)
@click.option("--debug", is_flag=True, help="Show a traceback with every error.")
@click.option(
    *("--version", "-V"),
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def cli(debug: bool) -> None:
    """Run a provider: take tasks from a hub, run their actions in pinned worker processes, send every result back.

    Completion of commands, options and names of daemons by the Tab key: `arbd completion --help`.
    """


def main() -> None:
    """Run the command that the arguments name, or tell a shell how they may go on."""
    hangup.survive(sys.argv[1:])  # again, for whoever comes here directly
    process_state.establish()
    if hangup.command_in(sys.argv[1:]) in _SHORT:
        priority.raise_own()
    else:
        from arbd.host import secrecy

        secrecy.seclude()  # it knows a token, or starts what does; a short command has no time for it, and knows none
        gc.enable()
    if os.environ.get(COMPLETE_VARIABLE):
        from arbd.cli import _complete

        sys.exit(_complete.answer(cli, sys.argv[1:], is_debugged=os.environ[COMPLETE_VARIABLE] == "debug"))
    cli(prog_name="arbd")


def _exit_code(error: ArbdError) -> int:
    if isinstance(error, ConfigError):
        return EXIT_CONFIG
    return EXIT_ZYGOTE if isinstance(error, ZygoteError) else EXIT_FAILURE


def message_of(error: ArbdError) -> str:
    """What is told of an error. Hubs and authors may have put words into it: those have lines of their own only where a
    traceback needs them."""
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        return "\n  - ".join([f"{len(error.problems)} problems", *map(printable, error.problems)])
    from arbd.core.history import shown

    return (
        printable_lines(str(error))
        if isinstance(error, ZygoteError | ConfigError)
        else shown(str(error), _MOST_OF_MESSAGE)
    )
