"""The settings: what is wrong with them, and what they name that is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from arbd.doctor.checks.access import PathFacts, ServiceUser, closed_to
from arbd.doctor.findings import Finding, fail, ok, warn


class NamedFile(msgspec.Struct, frozen=True):
    """A file that the daemon has to read, with what it is and the way to it. ``hidden``: nobody else is to read it."""

    what: str
    path: str
    way: Sequence[PathFacts] = ()


class SettingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What resolving the settings came to. ``source``: where they come from. ``target``: what is to be run; empty: it
    is not said. ``target_error``: why that is not found or does not load. ``relative``: settings that name a relative
    path, where the unit's working directory is another than this."""

    source: str
    account: ServiceUser
    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()
    name: str = ""
    target: str = ""
    target_error: str = ""
    target_was_loaded: bool = False
    files: Sequence[NamedFile] = ()
    unit: str = ""
    unit_names_target: bool = False


def check_settings(facts: SettingFacts) -> Iterator[Finding]:
    """Whether the daemon can start with them."""
    for problem in facts.problems:
        yield fail(
            "settings",
            problem,
            "the daemon does not start (exit code 78); what follows was looked at without it",
            "correct it; arbd config shows every setting and where it comes from",
        )
    for warning in facts.warnings:
        what, _, remedy = warning.rpartition("; ")
        yield warn("settings.retired", what or warning, "it has no effect any more", remedy or "remove it")
    if not facts.problems:
        findings = [*_target(facts), *_name(facts), *_files(facts)]
        yield from findings
        if not findings and not facts.warnings:
            yield ok("settings", f"{facts.source}: no problems")


def _target(facts: SettingFacts) -> Iterator[Finding]:
    if facts.target_error:
        yield fail(
            "settings.target",
            facts.target_error,
            "the daemon does not start",
            "correct target, or the code; arbd check says more",
        )
    elif not facts.target and facts.unit and not facts.unit_names_target:
        yield fail(
            "settings.target",
            f"{facts.source} has no target, and {facts.unit} names none either",
            "the daemon does not start (exit code 2), as nothing says what to run",
            'target = "/srv/prices/prices.py" or "package.module" in the settings',
        )


def _name(facts: SettingFacts) -> Iterator[Finding]:
    if not facts.name and facts.target_was_loaded:
        yield fail(
            "settings.name",
            "the provider has no name",
            "the daemon does not start (exit code 78)",
            "set name in the settings, or in the constructor of the provider",
        )


def _files(facts: SettingFacts) -> Iterator[Finding]:
    for file in facts.files:
        gone = file.way and file.way[-1].error
        if gone:
            yield fail(
                "settings.file",
                f"{file.what}: {file.path}: {gone}",
                "the daemon does not start",
                f"put it there, or correct {file.what}",
            )
        elif facts.account.is_known and (place := closed_to(facts.account, file.way)):
            yield warn(
                "settings.closed",
                f"{file.what}: user {facts.account.name} may not read {file.path}, as {place} is closed to it",
                "the daemon runs as that user, and does not start",
                f"chgrp {facts.account.name}, chmod g+r (directories g+rx)",
            )
