"""``arbd completion``: the script that has a shell complete command lines of arbd."""

from __future__ import annotations

import click

from arbd.cli._shell_scripts import SCRIPTS


@click.command(
    "completion",
    short_help="Have the Tab key complete arbd's command lines.",
    epilog="""\b
Examples:
  arbd completion bash                   look at it; it begins with where to put it
  eval "$(arbd completion bash)"         in this shell; in ~/.bashrc: in every one
  arbd completion zsh > ~/.zfunc/_arbd   where ~/.zfunc is in $fpath, before compinit
  arbd completion fish > ~/.config/fish/completions/arbd.fish

The script asks the arbd on the command line, so it need not be renewed after an
upgrade. `_ARBD_COMPLETE=debug arbd status ""` shows what it is told, and what is wrong if that is nothing.
The exit code is 0, or 2 for another shell.""",
)
@click.argument("shell", metavar="|".join(SCRIPTS), type=click.Choice(tuple(SCRIPTS)))
def command(shell: str) -> None:
    """Print the script with which bash (4.4 or later), zsh or fish (3.1 or later) completes commands, options, the
    values of settings, files, the names of the daemons that run, and their workers and running tasks."""
    click.echo(SCRIPTS[shell], nl=False)
