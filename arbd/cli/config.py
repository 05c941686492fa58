"""``arbd config``: every effective setting, and who set it."""

from __future__ import annotations

import os
from typing import Any

import click

from arbd.cli import _completers, _show
from arbd.cli._options import CommandSettings, settings_options
from arbd.settings import thread_variables
from arbd.settings.table import Resolved
from arbd.supervisor.cpu_share import share_of


@click.command(
    "config",
    short_help="Every effective setting, and who set it.",
    epilog="""\b
Examples:
  arbd config                     defaults, arbd.toml and the environment
  arbd config my_provider.py      with what the provider's constructor says
  arbd config --json

Later wins: defaults, what a service manager gives, arbd.toml, the environment, the environment file, the constructor,
options.

Exit codes: 0 good, 2 wrong command line, 70 the provider's code failed, 78 wrong settings or TARGET.""",
)
@click.argument("target", required=False, shell_complete=_completers.target)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
def command(target: str | None, as_json: bool, given: CommandSettings) -> None:
    """Print each setting with its value and where that came from, and what libraries are told of threads.

    Secrets are not shown. Every wrong setting is reported. What only earlier versions had is a warning.
    """
    found = given.target(target)
    description = None
    if found:
        from arbd.supervisor.describe import describe

        description = describe(found, [], given.environ_of_code())
    resolved = given.resolve(description)
    for warning in resolved.warnings:
        _show.say(f"arbd: warning: {warning}", err=True)
    if as_json:
        _show.json_document(_document(resolved))
        return
    rows = [(setting.name, _show.value(setting, shown), origin) for setting, shown, origin in resolved.shown()]
    _show.table(("setting", "value", "from"), rows)
    _show.say("", "Threads of libraries, told to the author's processes by the environment:", "")
    threads = share_of(resolved.settings).cpus_each
    variables = [(one.name, one.value or "-", one.origin) for one in thread_variables.shown(os.environ, threads)]
    _show.table(("variable", "value", "from"), variables)


def _document(resolved: Resolved) -> dict[str, Any]:
    return {
        setting.name: {"value": shown, "unit": setting.unit, "from": origin}
        for setting, shown, origin in resolved.shown()
    }
