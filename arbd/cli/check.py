"""``arbd check``: loads a provider as ``arbd run`` would, starts one worker, and tells actions and problems."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from arbd.cli import _completers, _show
from arbd.cli._options import CommandSettings, settings_options_showing
from arbd.errors import EXIT_CONFIG, EXIT_OK, ConfigError
from arbd.model.description import ActionInfo, Description
from arbd.settings.table import Resolved


@click.command(
    "check",
    short_help="Load a provider and tell what is wrong with it.",
    epilog="""\b
Examples:
  arbd check my_provider.py
  arbd check my_package.provider && systemctl reload my-provider

Exit codes: 0 good, 2 wrong command line, 70 its code failed to import, 78 settings, TARGET or an action are wrong, or
no worker starts.""",
)
@click.argument("target", required=False, shell_complete=_completers.target)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options_showing("env_file", "workers")
@click.pass_context
def command(ctx: click.Context, target: str | None, as_json: bool, given: CommandSettings) -> None:
    """Load TARGET as `arbd run` would, start one worker, which runs nothing, and print actions, schemas, timeouts and
    problems."""
    found = given.required_target(target)
    from arbd.supervisor.trial import try_out

    description, failures = try_out(
        found, [], given.environ_of_code(), lambda loaded: given.resolve(loaded).settings, **_cpus(given)
    )
    resolved = given.resolve(description)
    problems = [*_problems(description), *failures]
    if as_json:
        _show.json_document(
            {
                "good": not problems,
                "name": resolved.settings.name,
                "problems": problems,
                "warnings": resolved.warnings,
                "provider": description,
            }
        )
    else:
        _print(found, description, resolved, problems)
    ctx.exit(EXIT_CONFIG if problems else EXIT_OK)


def _cpus(given: CommandSettings) -> dict[str, int]:
    """How many CPUs a worker will have; what is wrong with settings is told when the provider's own are known."""
    try:
        return {"worker_cpus": given.resolve().settings.worker_cpus}
    except ConfigError:
        return {}


def _problems(description: Description) -> list[str]:
    """What makes the provider useless, though its module could be imported."""
    none = [] if description.actions else ["the provider has no actions; register one, or is this the wrong TARGET?"]
    return [*description.problems, *none]


def _print(target: str, description: Description, resolved: Resolved, problems: list[str]) -> None:
    settings = resolved.settings
    _show.say(f"{settings.name} ({target}), hub {settings.hub_url}, workers {settings.workers}")
    for action in description.actions:
        _say_block(_lines(action, settings.execution_timeout))
    for heading, lines in (("resources", _resources(description)), ("hooks", _hooks(description))):
        if lines:
            _say_block((heading, *lines))
    _show.say()
    for leftover in description.leftovers:
        _show.say(f"note: {leftover.event}: {'; '.join(leftover.found)}: {leftover.hint}")
    if description.by_exec:
        _show.say(f"note: workers start by exec, not by fork: {description.exec_cost}")
    for warning in resolved.warnings:
        _show.say(f"warning: {warning}")
    for problem in problems:
        _show.say(f"problem: {problem}")
    count = len(problems)
    _show.say(f"{count} problem{'s' if count > 1 else ''}." if problems else "No problems.")


def _say_block(lines: Iterable[str]) -> None:
    """A line, and those that belong to it; an author's own words may have any number."""
    heading, *rest = lines
    _show.say("", heading, *(f"  {line}" for line in rest))


def _lines(action: ActionInfo, default_timeout: float) -> Iterator[str]:
    yield action.name + (f": {action.description}" if action.description else "")
    yield f"handler  {'async ' if action.is_async else ''}{action.signature}"
    if action.resources:
        yield f"given    {', '.join(action.resources)}"
    yield f"payload  {_show.fields(action.payload_schema)}"
    if action.account_schema is not None:
        yield f"account  {_show.fields(action.account_schema)}"
    timeout = f"{default_timeout:g} s (execution_timeout)" if action.timeout is None else f"{action.timeout:g} s"
    yield f"timeout  {timeout}"
    for note in action.notes:
        yield f"note     {note}"


def _resources(description: Description) -> list[str]:
    lines = []
    for each in description.resources:
        words = ("async " if each.is_async else "") + each.signature
        opened = "lazy" if each.lazy else "at the start"
        lines.append(f"{words}  {opened}; used by {', '.join(each.used_by) or 'nothing'}")
    return lines


def _hooks(description: Description) -> list[str]:
    return [
        f"on_worker_{each.moment}  {'async ' if each.is_async else ''}{each.signature}" for each in description.hooks
    ]
