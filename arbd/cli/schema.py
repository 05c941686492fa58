"""``arbd schema``: what callers of a provider may send."""

from __future__ import annotations

from typing import Any

import click

from arbd.cli import _completers, _show
from arbd.cli._options import CommandSettings, settings_options_showing
from arbd.model.description import ActionInfo


@click.command(
    "schema",
    short_help="JSON Schema of a provider's actions.",
    epilog="""\b
Examples:
  arbd schema my_provider.py              every action, as one JSON object
  arbd schema my_provider.py add          the payload of one action
  arbd schema my_provider.py add --account
  arbd schema my_provider.py | jq keys    the names of the actions

Exit codes: 0 good, 2 no such action, 70 the provider's code failed, 78 wrong settings or TARGET.""",
)
@click.argument("target", required=False, shell_complete=_completers.target)
@click.argument("action", required=False)
@click.option("--account", is_flag=True, help="The schema of the account instead of the payload; needs ACTION.")
@settings_options_showing("env_file")
def command(target: str | None, action: str | None, account: bool, given: CommandSettings) -> None:
    """Print JSON Schema (2020-12) of every action of TARGET (see `arbd run --help`), or of one ACTION."""
    found = given.required_target(target)
    from arbd.supervisor.describe import describe

    actions = {info.name: info for info in describe(found, [], given.environ_of_code()).actions}
    if action is None:
        if account:
            raise click.UsageError("--account needs an ACTION.")
        _show.json_document({name: _document(info) for name, info in actions.items()})
        return
    if action not in actions:
        raise click.BadParameter(
            f"no action {action!r}; there are: {', '.join(actions) or 'none'}", param_hint="ACTION"
        )
    info = actions[action]
    _show.json_document((info.account_schema or {}) if account else info.payload_schema)


def _document(info: ActionInfo) -> dict[str, Any]:
    schemas: dict[str, Any] = {"description": info.description, "payload": info.payload_schema}
    return schemas if info.account_schema is None else schemas | {"account": info.account_schema}
