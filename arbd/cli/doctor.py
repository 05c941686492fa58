"""``arbd doctor``: checks a machine and a provider's settings on it, and says what to change."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from arbd.cli import _show, _unit_files
from arbd.cli._options import CommandSettings, settings_options
from arbd.core.history import shown
from arbd.errors import EXIT_FAILURE, EXIT_OK, ArbdError, ConfigError, os_reason
from arbd.settings.secrets import hub_tokens, own_settings
from arbd.settings.table import Layer, from_constructor, from_flags, secrets_in

if TYPE_CHECKING:
    from arbd.doctor.case import Case
    from arbd.doctor.findings import Finding
    from arbd.model.description import Description

_COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}
_MOST: Final = 1000  # characters of a sentence: a hub or a file may say anything


@click.command(
    "doctor",
    short_help="Check a machine, and say what to change.",
    epilog="""\b
Examples:
  arbd doctor                                 arbd.toml here, and this machine
  arbd doctor --config /etc/arbd/prices.toml  for arbd@prices, as systemd would start it
  arbd doctor my_provider.py                  with what the provider's constructor says; loads its code
  arbd doctor --unit ./arbd@.service          against a unit that is not installed yet
  arbd doctor --json | jq '.findings[] | select(.level != "ok")'

Nothing is changed, no task is taken, and the author's code is loaded only where TARGET names it.
Exit codes: 0 nothing fails (there may be warnings), 1 something does.""",
)
@click.argument("target", required=False)
@click.option("--unit", metavar="UNIT", help="Name or file of the systemd unit.  [default: arbd@NAME for NAME.toml]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
@click.pass_context
def command(ctx: click.Context, target: str | None, unit: str | None, as_json: bool, given: CommandSettings) -> None:
    """Look at everything a daemon with these settings depends on: CPUs, limits, memory, clock, kernel, directories,
    the token, TLS, the hub, other daemons, and the installed unit with its sandbox.

    Each finding is ok, warn or fail, and says why it matters and what to do. With the settings file of an installed
    unit (/etc/arbd/NAME.toml) its user, environment and credentials are those of the unit; ask as root.
    """
    from arbd.doctor.case import Question, open_case, working_directory
    from arbd.doctor.examine import NamedTarget, examine
    from arbd.doctor.findings import worst

    description, error = _described(target, given)

    def last(layers: list[Layer]) -> list[Layer]:
        tokens = hub_tokens(given.environ())
        constructor = own_settings(description.given, secrets_in(layers), tokens) if description is not None else {}
        return [from_constructor(constructor), from_flags(given.flags)]

    try:
        question = Question(
            config_file=given.config_file,
            unit=unit,
            environ=os.environ,
            last=last,
            env_file=given.flags.get("env_file"),
            directory=working_directory(),
        )
        case = open_case(question)
    except OSError as failure:  # the directory it is called in is gone, or closed
        raise ArbdError(f"the settings cannot be looked for: {os_reason(failure)}; call it elsewhere") from failure
    findings = examine(case, NamedTarget(target or "", error, description is not None), _is_outdated)
    level = worst(findings)
    if as_json:
        _show.json_document(_document(case, findings, level))
    else:
        for line in _lines(case, findings):
            _show.say(line)
    ctx.exit(EXIT_FAILURE if level == "fail" else EXIT_OK)


def _described(target: str | None, given: CommandSettings) -> tuple[Description | None, str]:
    """What the provider says of itself, or why it does not load."""
    if not target:
        return None, ""
    from arbd.supervisor.describe import describe

    try:
        environ = given.environ_of_code()
    except ArbdError:
        environ = dict(os.environ)  # what is wrong with the files is a finding
    try:
        return describe(target, [], environ), ""
    except ArbdError as error:
        problems = error.problems if isinstance(error, ConfigError) else [str(error)]
        return None, f"{target} does not load: {'; '.join(problems)}"


def _is_outdated(text: str) -> bool:
    """Whether arbd wrote this unit, nobody has changed it, and this arbd would write another one."""
    if not _unit_files.is_untouched(text):
        return False
    starts = (line.partition("=")[2].split() for line in text.splitlines() if line.startswith("ExecStart="))
    path = next((words[0] for words in starts if words), _unit_files.COMMAND)
    return text not in {_unit_files.stamped(file.source, path) for file in (_unit_files.UNIT, _unit_files.USER)}


def _document(case: Case, findings: Sequence[Finding], level: str) -> dict[str, Any]:
    counts = Counter(finding.level for finding in findings)
    return {
        "good": level != "fail",
        "level": level,
        "settings": case.source,
        "provider": case.settings.name,
        "unit": case.unit.name if case.unit is not None else None,
        "user": case.account.name,
        "counts": {name: counts[name] for name in ("ok", "warn", "fail")},
        "findings": findings,
    }


def _lines(case: Case, findings: Sequence[Finding]) -> Iterator[str | Sequence[str]]:
    unit = f", unit {case.unit.name}" if case.unit is not None and case.is_of_unit else ""
    yield f"{shown(case.settings.name) or 'no provider'} ({shown(case.source)}{unit}, user {case.account.name})"
    yield ""
    for finding in findings:
        level = _show.styled(f"{finding.level:<4}", fg=_COLOURS[finding.level], bold=finding.level == "fail")
        yield level, f"  {finding.topic:<12} {shown(finding.what, _MOST)}"
        for word, text in (("why", finding.why), ("do", finding.remedy)):
            if text:
                yield f"{'':<18} {word:<4} {shown(text, _MOST)}"
    counts = Counter(finding.level for finding in findings)
    yield ""
    yield f"{_counted(counts['fail'], 'failure')}, {_counted(counts['warn'], 'warning')}, {counts['ok']} ok."


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
